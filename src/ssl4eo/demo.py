# SPDX-License-Identifier: Apache-2.0
"""The whole way on a small synthetic planet: archive, pre-train, evaluate, report, in minutes on a CPU.

Each stage leaves its result under OUT and is skipped when that is already there, so a demo that was stopped
goes on where it was. Nothing here is special to the demo: every stage is the public function of its command.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssl4eo.archive.journal import require_outside
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid
from ssl4eo.evaluation.network import load_network
from ssl4eo.evaluation.run import SCORES, evaluate
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.files import read_jsonl, write_json
from ssl4eo.insight.record import record
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.data import open_training_data
from ssl4eo.pretraining.launch import reading_precision
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.progress import progress_bar
from ssl4eo.recipes.table import recipe
from ssl4eo.report.write import write_report

SETTINGS = "demo.json"


@dataclass(frozen=True)
class DemoConfig:
    """Size of the demo; the defaults are the published figures of the README."""

    num_locations: int = 480
    """Locations of the planet; a third is held out for the test."""
    epochs: int = 32
    """Passes over the training locations."""
    batch_size: int = 64
    """Locations a step."""
    seeds: tuple[int, ...] = (0, 1)
    """Networks: each seed is pre-trained once and left untrained once."""
    planet_seed: int = 1
    """Of the planet; options were chosen on the planet of seed 0."""

    def __post_init__(self) -> None:
        """Refuse, before a planet is made, one too small to train on."""
        least = 2 * self.batch_size  # two thirds of each class are trained on, rounded class by class
        if self.num_locations < least:
            raise ConfigInvalid(
                f"a demo of {self.num_locations} locations, of which a third is held out",
                expected=f"{least} or more: one batch is {self.batch_size}",
                remedy="give a larger --num_locations",
            )

    def training(self, seed: int) -> PretrainConfig:
        """Build the recipe of one network.

        With a few hundred locations a long queue would hold older keys of the very images that are compared, as
        negatives: the loss then rises. So the queue is short, and the key network quick enough for it.
        """
        base = recipe("moco_v2.resnet18.s2l1c.tiny").config()
        engine = dataclasses.replace(
            base.engine,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            probe_every=4,
            save_every=8,
            num_workers=1,
        )
        views = dataclasses.replace(base.views, pairing="distinct")
        method = dataclasses.replace(base.method, queue_size=4 * self.batch_size, momentum=0.9)
        return dataclasses.replace(base, engine=engine, views=views, method=method)


@dataclass(frozen=True)
class DemoResult:
    """What the demo leaves."""

    report: Path
    seconds: float


def demo(out: Path, config: DemoConfig, *, say: Callable[[str], None] = print) -> DemoResult:
    """Run what is not done yet.

    Args:
        out: folder of the demo.
        config: its size.
        say: told what is done.

    Raises:
        TargetExists: `out` is or lies in an archive.
        CheckpointInvalid: `out` holds a demo of another size.
    """
    started = time.perf_counter()
    require_outside(out, is_folder=True)
    _require_same(out, config)
    archive, runs = out / "planet.zarr", [out / f"seed-{seed}" for seed in config.seeds]
    _collect(archive, config, say)
    for seed, run in zip(config.seeds, runs, strict=True):
        _pretrain(archive, run, config.training(seed), say)
    for seed, run in zip(config.seeds, runs, strict=True):
        _evaluate(archive, run, config.training(seed), say)
    for run in runs:
        record(run, data=archive)
    report = write_report(runs, out / "report", archive=archive, title="The whole way, on a synthetic planet")
    return DemoResult(report, time.perf_counter() - started)


def _require_same(out: Path, config: DemoConfig) -> None:
    """Write the settings of a new demo; refuse to go on with another one's results."""
    path, settings = out / SETTINGS, dataclasses.asdict(config) | {"seeds": list(config.seeds)}
    if not path.exists():
        write_json(path, settings)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointInvalid(f"{path} is not JSON", remedy="choose another --out", path=str(path)) from error
    if found != settings:
        raise CheckpointInvalid(
            f"{out} holds a demo with {found}", expected=str(settings), remedy="choose another --out", path=str(out)
        )


def _collect(archive: Path, config: DemoConfig, say: Callable[[str], None]) -> None:
    if archive.exists():
        say(f"1/4 planet: {archive} is there")
        return
    say(f"1/4 planet: {config.num_locations} synthetic locations x 4 seasons x S1GRD, S2L1C, S2L2A -> {archive}")
    planet = SyntheticPlanet(config.num_locations, seed=config.planet_seed)
    with progress_bar("collecting") as step:
        pack(planet, archive, errors="raise", progress=step)


def _pretrain(archive: Path, run: Path, training: PretrainConfig, say: Callable[[str], None]) -> None:
    if (run / "backbone.safetensors").exists():
        say(f"2/4 pre-training: {run} is done")
        return
    say(f"2/4 pre-training: {training.recipe}, seed {training.engine.seed} -> {run}")
    data = open_training_data(archive, contract=training.contract, precision=reading_precision(training))
    pretrain(training, data.source, run, probe=data.probe, resume=True)


def _evaluate(archive: Path, run: Path, training: PretrainConfig, say: Callable[[str], None]) -> None:
    scores = run / SCORES
    if scores.exists() and len(list(read_jsonl(scores))) == 4:
        say(f"3/4 evaluation: {scores} is there")
        return
    say(f"3/4 evaluation: k-NN and linear probe on held-out synthetic locations -> {scores}")
    scores.unlink(missing_ok=True)
    untrained = f"random.{training.backbone}.{training.modality.lower()}"
    for checkpoint in (str(run), untrained):
        network = load_network(checkpoint, seed=training.engine.seed, image_size=training.image_size)
        task = open_task("synthetic", archive, contract=network.backbone.contract)
        with progress_bar("features") as step:
            evaluate(network, task, ["knn", "linear"], out=run, save_features=True, progress=step)
