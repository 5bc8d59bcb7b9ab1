# SPDX-License-Identifier: Apache-2.0
"""What `ssl4eo doctor` does: measure the stages of a run on this machine, judge them, say it."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from ssl4eo.archive.reader import open_archive
from ssl4eo.commands.parsing import separated
from ssl4eo.errors import ConfigInvalid, ContractMismatch
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Order
from ssl4eo.memory import keep_freed_memory
from ssl4eo.pretraining import doctor
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.data import WHOLE, open_training_data
from ssl4eo.pretraining.diagnosis import diagnose
from ssl4eo.pretraining.launch import computes_in_bf16
from ssl4eo.recipes import table
from ssl4eo.recipes.recipe import INPUTS

MOST_WORKERS = 256
"""Processes that a loader is measured with: each takes seconds to start and a quarter of a gigabyte."""
LOADING_SECONDS, LOADER_SECONDS, COMPUTE_SECONDS = 3.0, 3.0, 15.0
"""How long each stage is measured [s]: short, so that the answer is there within a minute."""


def run_doctor(
    data: Path,
    recipe: str | None,
    *,
    backbone: str | None,
    bands: list[str] | None = None,
    ids: Path | None = None,
    num_workers: tuple[int, ...] | None,
    json: bool,
) -> None:
    """Measure and say; see `ssl4eo.commands.doctor`."""
    keep_freed_memory()  # as `ssl4eo pretrain` does
    counts = _checked(num_workers)
    if backbone is not None and recipe is None:
        raise ConfigInvalid(
            f"--backbone {backbone} without a recipe", expected="a recipe that is measured", remedy="add --recipe NAME"
        )
    config = table.recipe(_views_for(data) if recipe is None else recipe).with_backbone(backbone).config()
    config = dataclasses.replace(config, bands=tuple(separated(bands) or ()))
    source = open_training_data(data, contract=config.contract, split=WHOLE, ids=ids).source
    facts = examine(config, source, counts=counts, compute=recipe is not None, profile=_profile(data))
    if json:
        sys.stdout.write(jsonlib.dumps(facts, indent=2) + "\n")
    else:
        _show(facts)


def examine(
    config: PretrainConfig, source: PixelSource, *, counts: tuple[int, ...], compute: bool, profile: str | None
) -> dict[str, Any]:
    """Measure and judge; gives plain values.

    Args:
        config: of the run that is planned.
        source: of its pixels.
        counts: numbers of workers.
        compute: do steps of the recipe too.
        profile: how the archive is compressed, None for other data.
    """
    dataset, size = doctor.make_dataset(config, source), len(source)
    loading = doctor.measure_loading(
        dataset, num_items=size, num_views=len(config.views.views), seconds=LOADING_SECONDS
    )
    loaders = [doctor.measure_loader(dataset, num_items=size, num_workers=n, seconds=LOADER_SECONDS) for n in counts]
    steps = doctor.measure_compute(config, source, seconds=COMPUTE_SECONDS) if compute else None
    emulated = not computes_in_bf16(config.engine.accelerator)
    found = diagnose(loading, loaders, steps, config=config, profile=profile, emulated=emulated)
    return {
        "recipe": config.recipe if compute else None,
        "data": source.title,
        "synthetic": source.synthetic,
        "cores": os.cpu_count(),
        "loading": dataclasses.asdict(loading),
        "loaders": [dataclasses.asdict(row) for row in loaders],
        "compute": None if steps is None else dataclasses.asdict(steps),
        "diagnosis": dataclasses.asdict(found),
        "warnings": _warnings(config, size) if compute else [],
    }


def _warnings(config: PretrainConfig, num_items: int) -> list[str]:
    """Say what `ssl4eo pretrain` would refuse or warn of, whatever the speed."""
    try:
        Order(num_items, config.engine.batch_size, config.engine.seed)
    except ConfigInvalid as error:
        return [f"a run of this recipe over these data would be refused: {error}"]
    return list(config.doubts(num_items))


def _checked(num_workers: tuple[int, ...] | None) -> tuple[int, ...]:
    if num_workers is None:
        return tuple(n for n in (0, 1, 2, 4, 8) if n <= max(1, os.cpu_count() or 1))
    if not num_workers or min(num_workers) < 0:
        raise ConfigInvalid(f"--num_workers {' '.join(map(str, num_workers))}", expected="numbers from 0, at least one")
    if max(num_workers) > MOST_WORKERS:
        raise ConfigInvalid(
            f"--num_workers {max(num_workers)}",
            expected=f"{MOST_WORKERS} at most",
            remedy="measure up to a few more than there are cores",
        )
    return tuple(sorted(set(num_workers)))


def _views_for(data: Path) -> str:
    """Name the recipe whose views are rendered when none is asked for: MoCo v2 for the first modality of the data."""
    modalities = _modalities(data)
    known = [name for name in INPUTS if name in modalities]
    if not known:
        raise ContractMismatch(
            f"{data} holds {', '.join(modalities)}",
            expected=f"one of {', '.join(INPUTS)}",
            remedy="name a recipe that reads it with --recipe",
        )
    return f"moco_v2.resnet50.{known[0].lower()}"


def _is_archive(data: Path) -> bool:
    return (data / "zarr.json").is_file()


def _modalities(data: Path) -> tuple[str, ...]:
    return open_archive(data).modalities if _is_archive(data) or data.suffix == ".zarr" else ("S2RGB",)


def _profile(data: Path) -> str | None:
    return open_archive(data).profile if _is_archive(data) else None


def _show(facts: dict[str, Any]) -> None:
    console = Console(file=sys.stdout)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    loading, compute, found = facts["loading"], facts["compute"], facts["diagnosis"]
    views = loading["num_views"]
    say(f"{facts['data']}{' (synthetic)' if facts['synthetic'] else ''}; {facts['cores']} cores")
    say(f"  read             {loading['read_per_second']:10.4g} samples/s in one process")
    say(
        f"  render           {loading['render_per_second']:10.4g} samples/s in one process "
        f"({views * loading['render_per_second']:.4g} views/s, {views} a sample)"
    )
    for row in facts["loaders"]:
        say(f"  loader           {row['samples_per_second']:10.4g} samples/s with num_workers {row['num_workers']}")
    if compute is not None:
        reduced = ""
        if compute["limit"]:
            reduced = (
                f", of {compute['wanted_batch_size']} for lack of {compute['limit']}; up to "
                f"{compute['most_per_second']:.4g} with all of them, by steps of two sizes"
            )
        say(f"  photometrics     {compute['photometric_per_second']:10.4g} samples/s on {compute['device']}")
        say(
            f"  whole step       {compute['samples_per_second']:10.4g} samples/s on {compute['device']} in "
            f"{compute['precision']}, {compute['batch_size']} samples a step{reduced}"
        )
        whose = "of the process, in a step" if compute["device"] == "cpu" else "of a step"
        say(f"  memory           {compute['peak_bytes'] / 1e9:10.4g} GB at most {whose}")
    for row in facts["warnings"]:
        say(f"WARNING: {row}")
    say(found["words"])
    for row in found["advice"] or ["nothing to change"]:
        say(f"- {row}")
