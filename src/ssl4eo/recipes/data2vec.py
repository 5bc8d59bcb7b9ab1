# SPDX-License-Identifier: Apache-2.0
"""data2vec experiments: corrected, as published, and small ones for a CPU."""

from __future__ import annotations

import dataclasses

from ssl4eo.contract import catalog_name
from ssl4eo.methods.data2vec import Data2VecConfig
from ssl4eo.pretraining.config import EngineConfig, PretrainConfig
from ssl4eo.recipes.recipe import HOURS_PUBLISHED, HOURS_UNKNOWN, INPUTS, NOT_YET_RUN, ON_GPUS, UNPUBLISHED, Recipe
from ssl4eo.recipes.views import UNCHANGED, published_view, small_view
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.training.schedule import ScheduleConfig
from ssl4eo.views.config import OneView


def as_published(backbone: str, modality: str, name: str) -> PretrainConfig:
    """Build the published experiment: 120 of 196 patches hidden, teacher at 0.9998 from the first step.

    Promise: `ssl4eo pretrain --recipe data2vec.vit_small_16.s2l1c.as_published --data ssl4eo-s12.zarr --out runs/d2v
    --engine.devices 4` on 4 GPUs; published after fine-tuning (ViT-S/16, S2L1C, one seed, validation parts):
    BigEarthNet 90.3 micro mAP, EuroSAT 99.1, So2Sat-LCZ42 64.8. Not yet run here.

    Keeps: constant momentum, float16. The released script runs 2 epochs with one of warm-up; the published file is of
    100, whose warm-up nobody knows: 10 here, as the paper's recipe for ViT-B.
    Does not repeat: a teacher that is lost on resume, 8-bit steps and wrap-around, equal views on every process.
    """
    return PretrainConfig(
        recipe=name,
        modality=modality,
        backbone=backbone,
        method=Data2VecConfig(num_masked=120, top_blocks=6, beta=2.0, ema_start=0.9998, ema_end=0.9998, ema_epochs=0.0),
        views=OneView(pairing="random", view=published_view(blur=0.0, photometric=UNCHANGED)),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.05, clip="norm", clip_norm=3.0),
        schedule=ScheduleConfig(warmup_epochs=10.0, final_fraction=0.01),
        engine=EngineConfig(epochs=100, batch_size=256, precision="16-mixed", num_workers=8, probe_every=0),
    )


def corrected(backbone: str, modality: str, name: str) -> PretrainConfig:
    """Build the published experiment with a teacher that follows faster while the student is young.

    Promise: `ssl4eo pretrain --recipe data2vec.vit_small_16.s2l1c --data ssl4eo-s12.zarr --out runs/d2v
    --engine.devices 4` on 4 GPUs; expected: not below the published weights (see `as_published`). Not yet run here.

    The momentum rises from 0.999 to 0.9998 over the 10 epochs of the warm-up, as the paper has it and the published
    script switched off: at 0.9998 the random start stays in the teacher for some 5,000 steps, or 5 epochs.
    """
    base = as_published(backbone, modality, name)
    method = Data2VecConfig(num_masked=120, top_blocks=6, beta=2.0, ema_start=0.999, ema_end=0.9998, ema_epochs=10.0)
    return dataclasses.replace(base, method=method, engine=dataclasses.replace(base.engine, precision="auto"))


def tiny(backbone: str, modality: str, name: str) -> PretrainConfig:
    """Build a small experiment for a CPU: vit_nano_8 at 64 px, 38 of 64 patches hidden.

    What differs from the published one, chosen on validation data (benchmarks/results/LOG.md): standardized inputs,
    targets normed over the batch (by layer norm they were nearly the same for all patches, and the student learned a
    constant), a quicker teacher, larger residual branches, no drop path, batches of 16.
    """
    del backbone  # every size has the same small form
    return PretrainConfig(
        recipe=name,
        modality=modality,
        backbone="vit_nano_8",
        scaling="zscore",
        method=Data2VecConfig(
            num_masked=38,
            top_blocks=4,
            beta=2.0,
            ema_start=0.99,
            ema_end=0.999,
            ema_epochs=2.0,
            smallest_block=5,
            drop_path=0.0,
            attention_drop=0.0,
            layer_scale=0.1,
            target_norm="batch",
        ),
        views=OneView(pairing="random", view=small_view(blur=0.0, photometric=UNCHANGED)),
        optimizer=OptimizerConfig(name="adamw", lr=7e-4, weight_decay=0.05, clip="norm", clip_norm=3.0),
        schedule=ScheduleConfig(warmup_epochs=0.5),
        engine=EngineConfig(epochs=2, batch_size=16, save_every=1, probe_every=1),
    )


_COST = f"100 epochs of 251,079 locations {ON_GPUS}"
_SCORES = "published weights after fine-tuning: BigEarthNet 90.3, EuroSAT 99.1, So2Sat-LCZ42 64.8"
_SPARED = "mask token and relative positions do not decay (they did)"
_DIFFERS = f"the teacher's momentum rises from 0.999 to 0.9998 over 10 epochs, {_SPARED}, precision auto for float16"
_KEEPS = f"as published but that {_SPARED}: the teacher's momentum is 0.9998 from the first step, float16"
_TINY = {
    "data2vec.vit_small_16.s2rgb": (
        "8,000 EuroSAT RGB tiles, 2 CPU cores, 6 minutes: linear 67.4 +- 0.2 -> 70.8 +- 1.1 %, "
        "k-NN 43.9 +- 0.3 -> 60.6 +- 1.6 (3 seeds, commit f14aa7e, benchmarks/results/learning.md)"
    ),
}


def recipes() -> list[Recipe]:
    """List the recipes of data2vec."""
    rows: list[Recipe] = []
    for modality in INPUTS:
        name = f"data2vec.vit_small_16.{catalog_name(modality)}"
        promise = f"{_COST}, {HOURS_UNKNOWN}; {UNPUBLISHED}; not yet run here"
        if modality == "S2L1C":
            promise = f"{_COST}, {HOURS_PUBLISHED}; to reach: {_SCORES}; not yet run here"
            published = f"{_COST}, {HOURS_PUBLISHED}; {_SCORES}; not yet run here"
            rows.append(Recipe(f"{name}.as_published", "vit_small_16", modality, as_published, published, _KEEPS))
        rows.append(Recipe(name, "vit_small_16", modality, corrected, promise, _DIFFERS))
        rows.append(Recipe(f"{name}.tiny", "vit_small_16", modality, tiny, _TINY.get(name, NOT_YET_RUN)))
    return rows
