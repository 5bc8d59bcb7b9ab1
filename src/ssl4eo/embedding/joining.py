# SPDX-License-Identifier: Apache-2.0
"""From parts to the file: vectors in the order of the archive, beside what it knows of each row, a group at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.embedding.plan import Job, valid_images
from ssl4eo.errors import SourceInvalid
from ssl4eo.likeness.table import GROUP_ROWS, embedding_column, embedding_schema, write_table


def join_parts(archive: Archive, job: Job, record: Mapping[str, Any], out: Path) -> None:
    """Write the file from all parts."""
    locations = archive.locations.iloc[job.indices].geometry
    bounds = None if bool(np.all(locations.isna())) else [float(v) for v in locations.total_bounds]
    schema = embedding_schema(job.num_features, job.dtype, record, bounds)
    write_table(out, schema, _groups(archive, job, schema, record, shapely.to_wkb(locations.to_numpy())))


def _groups(
    archive: Archive, job: Job, schema: pa.Schema, record: Mapping[str, Any], wkb: NDArray[np.object_]
) -> Iterator[pa.Table]:
    """Give row groups: vectors of the parts, beside what the archive knows of them."""
    facts = _Facts(archive, job, record, wkb)
    waiting: list[NDArray[np.generic]] = []
    start, num_waiting = 0, 0
    for part in range(job.num_parts):
        vectors = _load(job, part)
        if vectors is None:
            raise SourceInvalid(
                f"{job.path_of(part)} is not there",
                expected="what a worker has just written",
                remedy="give all workers a disk that this machine sees under the same path",
                path=str(job.work),
            )
        waiting.append(vectors)
        num_waiting += len(vectors)
        while num_waiting >= GROUP_ROWS or (num_waiting and part == job.num_parts - 1):
            joined = np.concatenate(waiting)
            group, rest = joined[:GROUP_ROWS], joined[GROUP_ROWS:]
            columns = facts.columns(start, start + len(group))
            yield pa.table({**columns, "embedding": embedding_column(group, schema)}, schema=schema)
            start, waiting, num_waiting = start + len(group), [rest], len(rest)


class _Facts:
    """What the archive knows of each row."""

    def __init__(self, archive: Archive, job: Job, record: Mapping[str, Any], wkb: NDArray[np.object_]) -> None:
        self._ids = [archive.ids[i] for i in job.indices]
        self._wkb, self._job = wkb, job
        times = archive.times(job.modality.split("+")[0])[job.indices][:, list(job.seasons)]
        self._times = times.astype("datetime64[ms]").reshape(-1)
        valid = valid_images(archive, job.modality, job)
        self._valid = np.asarray(valid.any(axis=1), np.bool_) if job.is_mean else valid.reshape(-1)
        self._same = {
            "modality": job.modality,
            "checkpoint": record["checkpoint"]["name"],
            "checkpoint_sha256": record["checkpoint"]["sha256"],
            "contract": json.dumps(record["contract"]),
        }

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """Give all columns but the vectors for the rows from start to stop."""
        count, job = stop - start, self._job
        place, date = np.divmod(np.arange(start, stop), job.rows_per_location)
        none = pa.nulls(count)
        seasons = np.array(job.seasons, np.int32)[date]
        return {
            "location": pa.array([self._ids[i] for i in place], pa.string()),
            "season": none if job.is_mean else pa.array(seasons),
            "time": none.cast(pa.timestamp("ms", tz="UTC")) if job.is_mean else _utc(self._times[start:stop]),
            "geometry": pa.array(self._wkb[place].tolist(), pa.binary()),
            "valid": pa.array(self._valid[start:stop]),
            **{name: pa.array([value] * count, pa.string()) for name, value in self._same.items()},
        }


def _utc(times: NDArray[np.datetime64]) -> pa.Array:
    return pa.array(times, pa.timestamp("ms")).cast(pa.timestamp("ms", tz="UTC"))


def is_whole(job: Job, part: int) -> bool:
    """Say whether a part lies there; what is no part of this job is removed."""
    path = job.path_of(part)
    try:
        return _load(job, part) is not None
    except (ValueError, OSError):
        path.unlink(missing_ok=True)
        return False


def _load(job: Job, part: int) -> NDArray[np.generic] | None:
    path = job.path_of(part)
    if not path.is_file():
        return None
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    expected = (len(job.locations_of(part)) * job.rows_per_location, job.num_features)
    if vectors.shape != expected or vectors.dtype != np.dtype(job.dtype):
        raise ValueError(f"{path} holds {vectors.dtype} {vectors.shape}")
    return vectors
