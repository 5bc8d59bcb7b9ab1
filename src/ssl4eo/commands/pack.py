# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo pack`: any published layout into an archive."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ssl4eo.packing import PackReport, open_source
from ssl4eo.packing import pack as pack_source
from ssl4eo.progress import progress_bar


def run(
    src: Path,
    out: Path,
    *,
    layout: Literal["auto", "raw"] = "auto",
    num_seasons: int | None = None,
    errors: Literal["skip", "raise"] = "skip",
    json: bool = False,
) -> int:
    """Pack a folder of images into an archive; run again after an interruption and it goes on.

    Args:
        src: folder of images, for the raw layout the one that holds s1, s2c, s2a
        out: archive to make; it must not exist yet and appears when it is whole
        layout: how the folder is laid out; auto looks
        num_seasons: dates a location must have; without it the most common number
        errors: what a broken location does; skip leaves it out and notes why in the archive, raise stops
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    source = open_source(src, layout=layout, num_seasons=num_seasons)
    with progress_bar(f"packing {src}") as progress:
        report = pack_source(source, out, errors=errors, progress=progress)
    show(report, json=json)
    return 0


def show(report: PackReport, *, json: bool) -> None:
    """Print what became of the locations."""
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    resumed = f" ({report.num_resumed} by an earlier run)" if report.num_resumed else ""
    console.print(f"{escape(str(report.path))}: {report.num_stored} locations stored{resumed}", highlight=False)
    if report.skipped:
        console.print(f"{len(report.skipped)} left out, listed by `ssl4eo info`; the first:", highlight=False)
        for reason in list(report.skipped.values())[:5]:
            console.print(f"  {escape(reason)}", highlight=False)
