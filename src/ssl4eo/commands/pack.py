# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo pack`: any published layout into an archive."""

from __future__ import annotations

import logging
import sys
from json import dumps
from pathlib import Path
from typing import Literal, cast

from rich.console import Console
from rich.markup import escape

from ssl4eo.archive.plausible import doubts_of
from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.recoded import EightBit
from ssl4eo.collection.source import AnySource, Source, is_stream
from ssl4eo.commands.parsing import separated
from ssl4eo.errors import ConfigInvalid
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
    ids: Path | None = None,
    eight_bit: Literal["10k", "sigma2"] | None = None,
    as_published: bool = False,
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
        src: images in any published layout (docs/layouts.md); often one folder
        out: archive to make; it must not exist yet and appears when it is whole
        layout: how the images are laid out; auto looks; places for folders of your own pictures, one a place, whose
            dates become seasons; module:name or file.py:name for one of your own
        num_seasons: dates a location must have; without it the most common number
        modalities: products to pack, such as S1GRD S2L1C; without it all there are
        rule: how 8-bit values were made, where files do not tell; without it as published, for the compressed release
            uint8_sigma2:published_rounded, for an LMDB uint8_10k_wrapped
        offset: of Sentinel-2 images, the constant in their values [DN], 0 or 1000, where files do not say it or lie
        modality: of a folder of pictures, what they are, such as S2L2A
        bands: of a folder of pictures, their bands in file order, such as B2 B3 B4 B8
        ids: file with one location id a line, to pack only these out of archives
        eight_bit: store 8 bits; Sentinel-2 by 10,000 DN or by mean and deviation, Sentinel-1 always by the latter.
            What is lost cannot be had back
        as_published: with eight-bit, what the reference wrote; all bands on the finest grid, bright values wrap to dark
        errors: what a broken location does; skip leaves it out and notes why in the archive, raise stops
        nodata: what a location with Sentinel-1 that has a single unobserved pixel (0 dB), or with an image that has no
            other, does; skip leaves it out, flag keeps it and marks its image as not valid. Optical images that are
            empty in part, whatever the share, are kept and marked with either
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
        modalities=separated(modalities),
        rule=rule,
        offset=offset,
        modality=modality,
        bands=separated(bands),
        ids=ids,
    )
    source = _recoded(source, eight_bit, as_published=as_published)
    _warn_of_shape(source)
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


def _recoded(source: AnySource, rule: Literal["10k", "sigma2"] | None, *, as_published: bool) -> AnySource:
    """Give the source, or its 8-bit form where that is asked for."""
    if rule is None:
        if as_published:
            raise ConfigInvalid("--as-published alone", expected="--eight-bit 10k or sigma2 with it")
        return source
    if is_stream(source):
        raise ConfigInvalid(
            "--eight-bit for images that are read from front to back",
            expected="a layout on disk",
            remedy="pack them as they are, then that archive with --eight-bit",
        )
    return EightBit(cast("Source", source), rule, as_published=as_published)


def _warn_of_shape(source: AnySource) -> None:
    height, width = source.shape
    if height != width:
        log.warning("patches are %d x %d px, `ssl4eo pretrain` takes squares: cut them before packing", height, width)


def show(report: PackReport, *, json: bool) -> None:
    """Print what became of the locations, and how many images are marked; log what looks wrong with their values."""
    archive = open_archive(report.path)
    for doubt in doubts_of(archive):
        log.warning("%s", doubt)
    marked = [(name, *spot) for name in archive.modalities for spot in archive.flagged(name)]
    num_places = len({index for _, index, _ in marked})
    if json:
        facts = {**report.to_json(), "marked": {"images": len(marked), "locations": num_places}}
        sys.stdout.write(dumps(facts, indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    resumed = f" ({report.num_resumed} by an earlier run)" if report.num_resumed else ""
    console.print(f"{escape(str(report.path))}: {report.num_stored} locations stored{resumed}", highlight=False)
    if report.skipped:
        console.print(f"{len(report.skipped)} left out, listed by `ssl4eo info`; the first:", highlight=False)
        for reason in list(report.skipped.values())[:5]:
            console.print(f"  {escape(reason)}", highlight=False)
    if marked:
        what = f"{_count(len(marked), 'image')} of {_count(num_places, 'location')}"
        console.print(f"marked as not valid, since pixels were not observed: {what}", highlight=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
