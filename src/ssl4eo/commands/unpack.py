# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo unpack`: an archive into a layout that others read."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ssl4eo.archive.id_list import read_ids
from ssl4eo.archive.reader import open_archive
from ssl4eo.commands.parsing import separated
from ssl4eo.errors import ConfigInvalid
from ssl4eo.progress import progress_bar
from ssl4eo.unpacking.choice import published_subset
from ssl4eo.unpacking.unpack import UnpackReport
from ssl4eo.unpacking.unpack import unpack as unpack_archive


def run(  # noqa: PLR0913 - each is an option of the command line
    archive: Path,
    out: Path,
    *,
    layout: Literal["raw", "uint8-geotiff", "uint16-geotiff", "rgb-png", "lmdb", "webdataset"],
    modalities: list[str] | None = None,
    seasons: list[int] | None = None,
    ids: Path | None = None,
    subset: Literal["published"] | None = None,
    renumber: bool = False,
    rule: str | None = None,
    shard_locations: int | None = None,
    errors: Literal["raise", "skip"] = "raise",
    workers: int = 1,
    json: bool = False,
) -> int:
    """Write an archive in a layout that others read; run again after an interruption and it goes on.

    Args:
        archive: to read
        out: folder to write to; new, or one that the same command has begun
        layout: raw (as published, byte-equal pixels), one multi-band GeoTIFF a date in 8 or 16 bits, RGB pictures, an
            LMDB for the reference's loader, or WebDataset shards
        modalities: products to write, such as S1GRD S2L1C; without it all there are, for rgb-png the first of S2L1C,
            S2L2A and S2RGB
        seasons: dates to write, 0 for the first; without it all there are
        ids: file with the ids of the locations to write, one a line, with or without leading zeros; without it all
        subset: published writes the 10 locations of the published RGB subset
        renumber: name locations by running numbers of 7 digits; ids.csv tells which is which
        rule: of 8 bits, for uint8-geotiff and lmdb: uint8_10k, uint8_10k_wrapped (as published, bright values wrap) or
            uint8_sigma2:published_50k; for an LMDB also none, which writes int16 (Sentinel-1 float32). Without it
            Sentinel-2 by uint8_10k and Sentinel-1 by uint8_sigma2:published_50k, but none for an LMDB of three
            modalities. For rgb-png only the rule that pixels are stored by, to write them as they are
        shard_locations: locations of a WebDataset shard, 64 without it
        errors: what a damaged location does; raise stops, skip leaves it out and notes why in skipped.jsonl
        workers: processes to work in
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    if ids is not None and subset is not None:
        raise ConfigInvalid("both --ids and --subset", expected="one of them")
    wanted = published_subset() if subset is not None else None if ids is None else read_ids(ids)
    source = open_archive(archive)
    with progress_bar(f"unpacking {archive}") as progress:
        report = unpack_archive(
            source,
            out,
            layout=layout,
            modalities=separated(modalities),
            seasons=seasons,
            ids=wanted,
            renumber=renumber,
            rule=rule,
            shard_locations=shard_locations,
            errors=errors,
            workers=workers,
            progress=progress,
        )
    _show(report, json=json)
    return 0


def _show(report: UnpackReport, *, json: bool) -> None:
    """Print what became of the locations."""
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    earlier = f" ({report.num_found} were there already)" if report.num_found else ""
    done = f"{report.num_written} locations written{earlier}"
    if not report.num_written:
        done = f"everything is there already, {report.num_found} locations"
    console.print(f"{escape(str(report.path))}: {done}", highlight=False)
    if report.skipped:
        console.print(f"{len(report.skipped)} left out, listed in skipped.jsonl; the first:", highlight=False)
        for reason in list(report.skipped.values())[:5]:
            console.print(f"  {escape(reason)}", highlight=False)
