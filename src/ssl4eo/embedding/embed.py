# SPDX-License-Identifier: Apache-2.0
"""From an archive and a network to one file of embeddings, in processes or on Dask; goes on after a kill.

Workers write vectors of about 256 images each into a folder beside the file; this process joins them, with what the
archive knows of each row, to Parquet. The file is the same bit for bit whatever the number of workers.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ssl4eo.archive.id_list import match_ids
from ssl4eo.archive.journal import require_outside
from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.checkpoints.load import IN_FOLDERS, RANDOM
from ssl4eo.embedding import plan
from ssl4eo.embedding.joining import is_whole, join_parts
from ssl4eo.embedding.plan import Job, choose_modality, choose_seasons, hash_of, is_there, require_same
from ssl4eo.embedding.work import embed_part
from ssl4eo.environment import commit, versions
from ssl4eo.errors import ConfigInvalid, RunStopped, TargetExists
from ssl4eo.evaluation.network import Network, load_network
from ssl4eo.extension import from_anywhere
from ssl4eo.files import exclusive, require_writable, write_json, writing
from ssl4eo.likeness.table import FORMAT, DType
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.packing.pools import open_run
from ssl4eo.processes import check_workers, wishing

PLAN, LOCK = "plan.json", ".lock"
Progress = Callable[[int, int | None], None]
"""Called with the number of images done and their total."""


@dataclass(frozen=True)
class EmbedReport:
    """What was written."""

    path: Path
    num_rows: int
    num_features: int
    num_resumed: int
    """Rows that an earlier run had computed."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {**asdict(self), "path": str(self.path)}


def embed_archive(  # noqa: PLR0913 - each is an option of the command line
    checkpoint: str | Path,
    data: Path | str,
    out: Path | str,
    *,
    seasons: str = "all",
    modality: str | None = None,
    ids: Sequence[str] | None = None,
    dtype: DType = "float32",
    image_size: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    precision: Literal["32", "bf16"] = "32",
    workers: int | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Write the features of all locations of an archive to a GeoParquet file; again after an interruption, it goes on.

    Each image is seen as evaluation sees it: the whole patch, resized to what the network was trained on.

    Args:
        checkpoint: catalog name, address, file, run folder, `random.<backbone>.<input>`; or `module:name` or
            `file.py:name` of a network of one's own, as `load_network` takes it.
        data: the archive.
        out: the file; it appears when it is whole.
        seasons: `all`: a row a date; `mean`: one row a location, the mean of the features over its observed dates; a
            number from 0: that date only.
        modality: what to read, such as S2L1C or S2L1C+S1GRD; None: as the network wants.
        ids: locations, None for all; they are written in the order of the archive.
        dtype: of the values in the file.
        image_size: that the network is to see [px]; None: what it was trained with, 224 for an untrained one.
        seed: of an untrained network.
        batch_size: images at a time; it may change the last bit of a value.
        precision: of the forward pass; bf16 has about 3 digits.
        workers: processes, each of which computes with one thread; None: one a core, or one where there is a GPU.
        dask: address of a Dask scheduler that does it, or `local`.
        progress: told after each part.

    Raises:
        DataMissing, ArchiveInvalid, CheckpointInvalid, UnknownName, LocationMissing: no such archive, network or id.
        ContractMismatch: the network cannot be fed from this archive.
        ConfigInvalid: options that cannot be.
        TargetExists: something else stands at `out`, what was begun there is another job, or it lies inside of an
            archive; it is untouched.
        Busy: another process writes there.
        SampleInvalid: features that are not finite; names location and season.
        ShardCorrupt: an image cannot be read.
        RunStopped: SIGINT or SIGTERM; run again to go on.
        WriteFailed: the disk is full or refuses; run again to go on.
        WorkerLost: a worker died; run again to go on.
    """
    out = Path(out).absolute()
    require_outside(out)
    archive = open_archive(data)
    network = load_network(str(checkpoint), seed=seed, image_size=image_size)
    if batch_size < 1:
        raise ConfigInvalid(f"batches of {batch_size}", expected="1 or more")
    job = _plan(archive, network, out, seasons=seasons, modality=modality, ids=ids, dtype=dtype,
                batch_size=batch_size, precision=precision)  # fmt: skip
    record = _record(archive, network, job, seasons)
    workers = _usual_workers(job) if workers is None else workers
    check_workers(workers)
    num_rows = len(job.indices) * job.rows_per_location
    if is_there(out, record):
        shutil.rmtree(job.work, ignore_errors=True)
        return EmbedReport(out, num_rows, job.num_features, num_rows)
    require_writable(out)
    with writing(job.work), exclusive(job.work / LOCK):
        record = _begin(job.work, record)
        missing = [part for part in range(job.num_parts) if not is_whole(job, part)]
        rest = sum(len(job.locations_of(part)) for part in missing)
        _compute(job, missing, workers=workers, dask=dask, progress=progress)
        join_parts(archive, job, record, out)
        shutil.rmtree(job.work)
    return EmbedReport(out, num_rows, job.num_features, num_rows - rest * job.rows_per_location)


def _plan(  # noqa: PLR0913 - each is an option of the command line
    archive: Archive, network: Network, out: Path, *, seasons: str, modality: str | None, ids: Sequence[str] | None,
    dtype: DType, batch_size: int, precision: Literal["32", "bf16"],
) -> Job:  # fmt: skip
    chosen, is_mean = choose_seasons(archive, seasons)
    indices = np.arange(len(archive))
    if ids is not None:
        wanted = match_ids(ids, frozenset(archive.ids))
        indices = np.array(sorted({archive.index_of(name) for name in wanted}), np.int64)
    if not len(indices):
        raise ConfigInvalid("no locations", expected="one at least")
    name = network.checkpoint
    return Job(
        archive=archive.path,
        modality=choose_modality(archive, network.backbone.contract, modality),
        seasons=chosen,
        is_mean=is_mean,
        indices=indices,
        checkpoint=str(Path(name).absolute()) if Path(name).exists() else from_anywhere(name),
        sha256=network.sha256,
        seed=network.seed,
        image_size=network.backbone.image_size,
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch_size=batch_size,
        precision=precision,
        dtype=dtype,
        num_features=network.backbone.num_features,
        work=out.with_name(f"{out.name}.partial"),
        part_locations=max(1, plan.PART_IMAGES // len(chosen)),
    )


def _record(archive: Archive, network: Network, job: Job, seasons: str) -> dict[str, Any]:
    """Gather what the file says of itself; nothing in it depends on when and by how many workers it was made."""
    source = ArchivePixels(archive.path, job.modality, indices=job.indices)
    return {
        "format": FORMAT,
        "kind": "embeddings",
        "checkpoint": {
            "name": shown_name(network.checkpoint),
            "sha256": network.sha256,
            "method": network.method or (None if network.pretrained else "untrained"),
            "backbone": network.backbone.arch,
            "seed": network.seed,
            "image_size": job.image_size,
            "features": job.num_features,
        },
        "contract": network.backbone.contract.to_json(),
        "source": {
            "title": source.title,
            "licence": archive.provenance.licence,
            "synthetic": source.synthetic,
            "modality": job.modality,
            "contract": source.contract.to_json(),
            "identity": source.identity,
            "locations": len(job.indices),
            "ids": hash_of([archive.ids[i] for i in job.indices]),
        },
        "config": {
            "seasons": seasons,
            "dtype": job.dtype,
            "batch_size": job.batch_size,
            "precision": job.precision,
            "device": job.device,
        },
        "versions": {**versions(), "commit": commit()},
    }


def shown_name(checkpoint: str) -> str:
    """Name a network in a file that may travel: folders above a run stay out.

    >>> shown_name("random.resnet18.s2l1c"), shown_name("/home/me/runs/a/backbone.safetensors")
    ('random.resnet18.s2l1c', 'a')
    """
    if checkpoint.startswith((RANDOM, "https://", "http://")) or checkpoint in CARDS:
        return checkpoint
    path = Path(checkpoint).absolute()
    return path.parent.name if path.name in IN_FOLDERS else path.name


def _usual_workers(job: Job) -> int:
    if job.device == "cuda":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, job.num_parts)


def _begin(work: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Note what is done, or go on with what was begun; give the record of the first run."""
    for path in work.glob(".*.partial"):  # what a killed run had begun
        path.unlink(missing_ok=True)
    try:
        noted = json.loads((work / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        foreign = [path.name for path in work.iterdir() if path.name != LOCK]
        if foreign:
            raise _foreign(work, f"holds {foreign[0]}") from None
        write_json(work / PLAN, record)
        return dict(record)
    except ValueError as error:
        raise _foreign(work, f"has a damaged {PLAN}") from error
    require_same(work, noted, record)
    return noted


def _foreign(work: Path, found: str) -> TargetExists:
    return TargetExists(
        f"{work} {found}", expected="parts of this job", remedy="remove it yourself to start anew", path=str(work)
    )


def _compute(job: Job, missing: list[int], *, workers: int, dask: str | None, progress: Progress | None) -> None:
    """Do the parts that are missing.

    Raises:
        RunStopped: a signal came; parts that were under way are kept.
    """
    stopped = threading.Event()
    total = len(job.indices) * len(job.seasons)
    done = total - sum(len(job.locations_of(part)) for part in missing) * len(job.seasons)
    if progress is not None:
        progress(done, total)
    if not missing:
        return
    num_left = len(missing)
    wanted = (part for part in missing if not stopped.is_set())
    with wishing(stopped.set, "parts"), open_run(min(workers, num_left), dask, value=job) as run:
        for part in run(embed_part, wanted):
            num_left -= 1
            done += len(job.locations_of(part)) * len(job.seasons)
            if progress is not None:
                progress(done, total)
    if num_left:
        raise RunStopped(
            f"stopped on request after {done} of {total} images", remedy="run the same command again: it goes on"
        )
