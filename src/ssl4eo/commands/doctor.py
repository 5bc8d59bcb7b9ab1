# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo doctor`: how fast this machine reads, renders and computes for a recipe, and what to change."""

from __future__ import annotations

from pathlib import Path


def run(
    *,
    data: Path,
    recipe: str | None = None,
    backbone: str | None = None,
    bands: list[str] | None = None,
    ids: Path | None = None,
    num_workers: tuple[int, ...] | None = None,
    json: bool = False,
) -> int:
    """Measure reading, rendering, loading and computing for a recipe on this machine, and say what to change.

    Args:
        data: an archive, or a folder of class folders of pictures
        recipe: name from `ssl4eo recipes list`, or module:name of your own; without it only reading and rendering are
            measured, with MoCo v2 views
        backbone: another network for the recipe, if its method can take it
        bands: of the recipe's modality, those that the network is fed, in order; all if left out
        ids: file with the ids of the locations that are trained on, one a line; all if left out
        num_workers: numbers of loader processes to measure; 0 1 2 up to the number of cores if left out
        json: print the figures as JSON, rates in samples per second and memory in bytes

    Returns:
        Exit status 0.
    """
    from ssl4eo.commands.doctor_measure import run_doctor

    run_doctor(data, recipe, backbone=backbone, bands=bands, ids=ids, num_workers=num_workers, json=json)
    return 0
