# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo pack`: any published layout into an archive."""

from __future__ import annotations

import logging
import sys
from json import dumps
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ssl4eo.archive.plausible import doubts_of
from ssl4eo.archive.reader import open_archive
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import PackReport
from ssl4eo.packing.pack import pack as pack_source
from ssl4eo.progress import progress_bar

log = logging.getLogger(__name__)


def run(  # noqa: PLR0913 - each is an option of the command line
    src: list[Path],
    out: Path,
    *,
    layout: str = "auto",
    num_seasons: int | None = None,
    modalities: list[str] | None = None,
    rule: str | None = None,
    offset: int | None = None,
    modality: str | None = None,
    bands: list[str] | None = None,
    errors: Literal["skip", "raise"] = "skip",
    nodata: Literal["skip", "flag"] = "skip",
    profile: Literal["fast", "default", "compact"] = "default",
    s1_step: float | None = None,
    workers: int = 1,
    dask: str | None = None,
    no_statistics: bool = False,
    json: bool = False,
) -> int:
    """Pack images into an archive; run again after an interruption and it goes on.

    Args:
        src: images, in any layout that is known (`ssl4eo pack --layout help .` lists them); often one folder
        out: archive to make; it must not exist yet and appears when it is whole
        layout: how the images are laid out; auto looks
        num_seasons: dates a location must have; without it the most common number
        modalities: products to pack, such as S1GRD S2L1C; without it all there are
        rule: of 8-bit images of the compressed release, how they were made; without it uint8_sigma2:published_rounded
        offset: of Sentinel-2 images that do not say it, the constant in their values [DN], 0 or 1000
        modality: of a folder of pictures, what they are, such as S2L2A
        bands: of a folder of pictures, their bands in file order, such as B2 B3 B4 B8
        errors: what a broken location does; skip leaves it out and notes why in the archive, raise stops
        nodata: what a location with unobserved pixels does (Sentinel-1 of 0 dB, empty images); skip leaves it out,
            flag keeps it and marks its image as not valid
        profile: how hard to compress; all are lossless
        s1_step: round Sentinel-1 to multiples of this power of two [dB], such as 0.015625; the error is at most half
            of it. Without it every bit is kept
        workers: processes to work in
        dask: address of a Dask scheduler that shares this disk, or `local`
        no_statistics: do not measure the pixels; else mean, deviation, quantiles and histogram are kept in the archive
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    source = open_source(
        *src,
        layout=layout,
        num_seasons=num_seasons,
        modalities=modalities,
        rule=rule,
        offset=offset,
        modality=modality,
        bands=bands,
    )
    with progress_bar(f"packing {src[0]}") as progress:
        report = pack_source(
            source,
            out,
            errors=errors,
            nodata=nodata,
            profile=profile,
            s1_step=s1_step,
            workers=workers,
            dask=dask,
            statistics=not no_statistics,
            progress=progress,
        )
    show(report, json=json)
    return 0


def show(report: PackReport, *, json: bool) -> None:
    """Print what became of the locations; log what looks wrong with their values."""
    for doubt in doubts_of(open_archive(report.path)):
        log.warning("%s", doubt)
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
