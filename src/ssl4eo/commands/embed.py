# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo embed`: features of all locations of an archive into a GeoParquet file."""

from __future__ import annotations

import logging
import sys
from json import dumps
from pathlib import Path
from typing import Literal

from rich.console import Console

from ssl4eo.progress import progress_bar

log = logging.getLogger(__name__)


def run(  # noqa: PLR0913 - the options of the command line
    *,
    checkpoint: str,
    data: Path,
    out: Path,
    seasons: str = "all",
    modality: str | None = None,
    ids: Path | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    image_size: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    precision: Literal["32", "bf16"] = "32",
    workers: int | None = None,
    dask: str | None = None,
    json: bool = False,
) -> int:
    """Write what a network makes of every location; run again after an interruption and it goes on.

    Args:
        checkpoint: catalog name, file, run folder, or random.<backbone>.<input>; module:name or file.py:name for a
            network of your own
        data: the archive
        out: GeoParquet file to make; it must not exist yet and appears when it is whole
        seasons: all (a row a date), mean (a row a location, over its observed dates), or the number of one date
        modality: what to read, such as S2L1C or S2L1C+S1GRD; without it what the network wants
        ids: file with one location id a line; without it all locations
        dtype: of the values in the file; float16 takes half the room and has 3 digits
        image_size: that the network is to see [px]; without it what it was trained with (untrained: 224)
        seed: of an untrained network
        batch_size: images at a time
        precision: of the forward pass; bf16 has about 3 digits
        workers: processes, each of which computes with one thread; without it one a core, or one where there is a GPU
        dask: address of a Dask scheduler that shares this disk, or local
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    from ssl4eo.archive.id_list import read_ids
    from ssl4eo.archive.plausible import doubts_of
    from ssl4eo.archive.reader import open_archive
    from ssl4eo.embedding.embed import embed_archive

    for doubt in doubts_of(open_archive(data)):
        log.warning("%s", doubt)
    with progress_bar(f"embedding {data}") as progress:
        report = embed_archive(
            checkpoint,
            data,
            out,
            seasons=seasons,
            modality=modality,
            ids=None if ids is None else read_ids(ids),
            dtype=dtype,
            image_size=image_size,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            workers=workers,
            dask=dask,
            progress=progress,
        )
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
        return 0
    earlier = f" ({report.num_resumed:,} by an earlier run)" if report.num_resumed else ""
    Console(soft_wrap=True).print(
        f"{report.path}: {report.num_rows:,} rows of {report.num_features} features{earlier}",
        markup=False,
        highlight=False,
    )
    return 0
