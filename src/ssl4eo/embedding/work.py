# SPDX-License-Identifier: Apache-2.0
"""What a worker does: the vectors of some locations, into one file. The same in any process.

Batches are cut within a part, and each process computes with one thread: sums are taken in the same order whoever does
a part, so that the result is the same bit for bit on processors of one kind.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.embedding.plan import Job, valid_images
from ssl4eo.errors import CheckpointInvalid, SampleInvalid
from ssl4eo.evaluation.features import extract
from ssl4eo.evaluation.network import load_network
from ssl4eo.evaluation.tasks.task import LabelledPixels
from ssl4eo.files import whole_or_told
from ssl4eo.loading.pixels import ArchivePixels

_opened: dict[tuple[object, ...], tuple[Backbone, ArchivePixels]] = {}
_observed: dict[Path, NDArray[np.bool_]] = {}
_opening = threading.Lock()


def embed_part(job: Job, part: int) -> int:
    """Compute a part and write it; give its number.

    Raises:
        SampleInvalid: the features of an image are not finite; names location and season.
        ShardCorrupt: an image cannot be read.
        CheckpointInvalid: this worker finds another file under the checkpoint's name.
        WriteFailed: the disk is full or refuses.
    """
    backbone, source = _open(job)
    with _one_thread():
        features = extract(backbone, _items(job, source, part), batch_size=job.batch_size, precision=job.precision)
    values = features.numpy().reshape(-1, len(job.seasons), job.num_features)  # (location, season, D)
    if job.is_mean:
        values = mean_of(values, _valid(job, source, part))[:, None]
    with np.errstate(over="ignore"):  # looked at below
        vectors = values.reshape(-1, job.num_features).astype(job.dtype)
    _require_range(job, source, part, vectors)
    with whole_or_told(job.path_of(part)) as partial, partial.open("wb") as stream:
        np.save(stream, vectors)
    return part


def mean_of(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Average features (location, season, D) over the seasons that were observed; over all where none was."""
    weights = (valid | ~valid.any(axis=1, keepdims=True)).astype(np.float64)[:, :, None]
    return ((values * weights).sum(axis=1) / weights.sum(axis=1)).astype(np.float32)


def _open(job: Job) -> tuple[Backbone, ArchivePixels]:
    """Load network and archive once a process."""
    key = (job.checkpoint, job.sha256, job.seed, job.image_size, job.device, str(job.archive), job.modality)
    with _opening:
        if key not in _opened:
            network = load_network(job.checkpoint, seed=job.seed, image_size=job.image_size)
            if network.sha256 != job.sha256:
                raise CheckpointInvalid(
                    f"{job.checkpoint} has SHA-256 {network.sha256} for this worker",
                    expected=f"{job.sha256}, as where the work was begun",
                    remedy="give all workers the same file, and do not change it meanwhile; a network of your own "
                    "needs weights of a file, or drawn from a fixed seed",
                )
            _opened.clear()
            _opened[key] = network.backbone.to(job.device), ArchivePixels(job.archive, job.modality)
        return _opened[key]


def _items(job: Job, source: ArchivePixels, part: int) -> LabelledPixels:
    """List the images of a part, location by location, season by season."""
    locations = job.locations_of(part)
    items, seasons = np.repeat(locations, len(job.seasons)), np.tile(np.array(job.seasons, np.int64), len(locations))
    ids = tuple(f"{source.archive.ids[i]}, season {s}" for i, s in zip(items, seasons, strict=True))
    return LabelledPixels(source, items=items, seasons=seasons, labels=np.zeros((len(items), 0), np.int64), ids=ids)


def _valid(job: Job, source: ArchivePixels, part: int) -> NDArray[np.bool_]:
    """Say which images of a part were observed; the table of the archive is read once a process and job."""
    if job.work not in _observed:
        _observed.clear()
        _observed[job.work] = valid_images(source.archive, job.modality, job)
    first = part * job.part_locations
    return _observed[job.work][first : first + job.part_locations]


def _require_range(job: Job, source: ArchivePixels, part: int, vectors: NDArray[np.generic]) -> None:
    """Refuse values that are too large for float16."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        location = source.archive.ids[int(job.locations_of(part)[bad[0] // job.rows_per_location])]
        raise SampleInvalid(
            f"the features of {location} are too large for {job.dtype}",
            expected="values up to 65504",
            remedy="write float32",
            location=location,
        )


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
