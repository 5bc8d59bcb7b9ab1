# SPDX-License-Identifier: Apache-2.0
"""Is an archive what the format says, whoever wrote it? One named check for each thing that the format fixes.

For writers of other programs and languages: each check stands alone, so the first mistake does not hide the others,
and says what it looked at. Where reader and verify refuse with the first contradiction, this goes on.
Checks of tables and times are in conformance_tables.py, those by other readers in agreement.py.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ssl4eo.archive import checksums, codecs, figures, identity
from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.layout import FORMAT, ROOT, SHARDS, SKIPPED, Layout
from ssl4eo.archive.metadata import read_layout
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.shards import Shards
from ssl4eo.archive.statistics import Statistics, measure
from ssl4eo.archive.verify import verify_archive
from ssl4eo.errors import ArchiveInvalid, Ssl4eoError

ROOT_KEYS = (
    *("format", "num_locations", "num_seasons", "shape", "modalities"),
    *("masks", "profile", "provenance", "created", "software"),
)
SAMPLED_CHUNKS = 8
"""Chunks of each array that are decoded where not all are."""


@dataclass(frozen=True)
class Check:
    """One thing that the format fixes."""

    name: str
    passed: bool
    evidence: str
    """What was looked at, or what is wrong."""


@dataclass(frozen=True)
class Subject:
    """The archive that is judged."""

    path: Path
    full: bool
    """Whether all chunks are decoded."""

    @cached_property
    def layout(self) -> Layout:
        """What the root promises."""
        return read_layout(self.path)

    @cached_property
    def shards(self) -> Shards:
        """Its shard files."""
        return Shards(self.path)

    def document(self, name: str) -> dict[str, Any]:
        """Read a JSON file below the archive."""
        data = json.loads((self.path / name).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise refuse(f"{name} holds a {type(data).__name__}, no object")
        return data

    def chunks(self, array: ShardedArray) -> list[tuple[int, int]]:
        """Choose chunks (location, season) of an array: the first, the last and some between, or all."""
        places = [(i, s) for i in range(array.num_locations) for s in range(array.chunks_per_location)]
        if self.full or len(places) <= SAMPLED_CHUNKS:
            return places
        drawn = np.random.default_rng(0).choice(len(places), SAMPLED_CHUNKS - 2, replace=False)
        return [places[i] for i in sorted({0, *drawn.tolist(), len(places) - 1})]


def refuse(reason: str) -> ArchiveInvalid:
    """Make the error that a check fails with."""
    return ArchiveInvalid(reason)


def require_equal(what: str, found: object, expected: object) -> None:
    """Fail a check unless two values are equal.

    Raises:
        ArchiveInvalid: they are not.
    """
    if found != expected:
        raise refuse(f"{what} is {found}, expected {expected}")


def check_archive(path: Path | str, *, full: bool = False) -> Iterator[Check]:
    """Judge an archive that anybody may have written; no check stops another.

    Args:
        path: of the archive.
        full: decode and compare all chunks instead of some of each array, and measure the statistics again.
    """
    from ssl4eo.archive import agreement, conformance_tables

    subject = Subject(Path(path).absolute(), full)
    for check in (*CHECKS, *conformance_tables.CHECKS, *agreement.CHECKS):
        yield run_check(check, subject)


def run_check(check: Callable[[Subject], str], subject: Subject) -> Check:
    """Run one check; whatever it stumbles over is its evidence."""
    try:
        return Check(check.__name__, passed=True, evidence=check(subject))
    except Ssl4eoError as error:
        return Check(check.__name__, passed=False, evidence=error.found)
    except Exception as error:  # noqa: BLE001 - foreign files can break a parser in any way; the check has failed
        return Check(check.__name__, passed=False, evidence=f"{type(error).__name__}: {error}")


def root_attributes(subject: Subject) -> str:
    """The root is a Zarr v3 group whose attribute `ssl4eo` has all fields, and no other."""
    root = subject.document(ROOT)
    require_equal("zarr_format and node_type", (root.get("zarr_format"), root.get("node_type")), (3, "group"))
    require_equal("the set of root attributes", sorted(root["attributes"]), ["ssl4eo"])
    about = root["attributes"]["ssl4eo"]
    require_equal("the set of fields of `ssl4eo`", sorted(about), sorted(ROOT_KEYS))
    require_equal("format", about["format"], FORMAT)
    created = _time(about["created"])
    require_equal("the zone of `created`", created.utcoffset(), dt.timedelta(0))
    return f"format {FORMAT}, written {created.isoformat()} by {about['software']}"


def _time(text: object) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(str(text))
    except ValueError as error:
        raise refuse(f"created is {text!r}, expected an ISO 8601 time") from error


def forms(subject: Subject) -> str:
    """Forms, sizes, masks and provenance are readable, allowed and spelled in full."""
    about = subject.document(ROOT)["attributes"]["ssl4eo"]
    wanted = json.loads(json.dumps(subject.layout.spec.to_json()))
    for key, value in wanted.items():
        require_equal(key, about[key], value)
    return f"{', '.join(subject.layout.spec.modalities)}; {subject.layout.num_locations} locations"


def groups(subject: Subject) -> str:
    """Every group is there, with its attributes only where the format has some."""
    attributed = {f"{name}/zarr.json" for name in subject.layout.bands}
    names = [name for name, node in _wanted(subject).items() if node["node_type"] == "group" and name != ROOT]
    for name in names:
        node = subject.document(name)
        require_equal(f"node_type of {name}", (node.get("zarr_format"), node.get("node_type")), (3, "group"))
        wanted = ["contract", "statistics"] if name in attributed else []
        require_equal(f"the attributes of {name}", sorted(node.get("attributes", {})), wanted)
    return f"{len(names)} groups"


def array_shapes(subject: Subject) -> str:
    """Shapes, types and fill values of all arrays follow from the forms."""
    return _arrays(subject, "node_type", "shape", "data_type", "fill_value")


def array_chunks(subject: Subject) -> str:
    """Chunk grids and the names of chunk files are those of the format."""
    return _arrays(subject, "chunk_grid", "chunk_key_encoding")


def array_codecs(subject: Subject) -> str:
    """Pixels are sharded, Blosc-compressed after the profile and carry crc32c; so do times, without shards."""
    return _arrays(subject, "codecs")


def array_dimensions(subject: Subject) -> str:
    """Axes have their names, bands too, and times their CF attributes."""
    return _arrays(subject, "dimension_names", "attributes")


def consolidated(subject: Subject) -> str:
    """The root repeats the metadata of every node, word for word."""
    found = subject.document(ROOT)["consolidated_metadata"]
    require_equal("kind", found.get("kind"), "inline")
    names = sorted(set(_wanted(subject)) - {ROOT})
    require_equal("the set of nodes", sorted(f"{name}/zarr.json" for name in found["metadata"]), names)
    for name in names:
        if found["metadata"][name.removesuffix("/zarr.json")] != subject.document(name):
            raise refuse(f"the copy of {name} in the root differs from it")
    return f"{len(names)} nodes"


def statistics(subject: Subject) -> str:
    """Where there are figures, they are of all bands, contradict nothing and, with `full`, are those of the pixels."""
    stored: dict[str, Statistics] = {}
    for form in subject.layout.spec.forms:
        data = subject.document(f"{form.modality}/zarr.json")["attributes"]["statistics"]
        if data is None:
            continue
        found = Statistics.from_json(data)
        require_equal(f"the bands of the statistics of {form.modality}", tuple(found.bands), form.bands)
        for array in subject.layout.bands[form.modality].values():
            pixels = array.chunks_per_location * array.num_locations * array.chunk[1] * array.chunk[2]
            for band in array.bands or ():
                for reason in figures.contradictions(found.bands[band], pixels, is_integer=form.dtype.startswith("u")):
                    raise refuse(f"{form.modality} {band} {reason}")
        stored[form.modality] = found
    again = ", measured again" if stored and subject.full else ""
    if again:
        _require_measured(subject, stored)
    return f"{len(stored)} of {len(subject.layout.bands)} modalities measured{again}"


def _require_measured(subject: Subject, stored: Mapping[str, Statistics]) -> None:
    fresh = measure(subject.path, subject.layout)
    for name, found in stored.items():
        differences = figures.compare(name, found, fresh[name])
        if differences:
            raise refuse(f"{len(differences)} figures differ; {differences[0]}")


def shard_files(subject: Subject) -> str:
    """Every shard of every array is there under its name, and nothing else beside it."""
    number = 0
    for array in subject.layout.sharded:
        names = {array.file(shard) for shard in range(array.num_shards)}
        found = {f"{array.path}/{entry.name}" for entry in (subject.path / array.path).iterdir()}
        found -= {f"{array.path}/zarr.json"}
        if found != names:
            raise refuse(f"{array.path} lacks or adds {', '.join(sorted(found ^ names)[:5])}")
        number += len(names)
    return f"{number} files"


def shard_indices(subject: Subject) -> str:
    """Every index is at the end, fits its checksum and places all chunks end to end, in order."""
    number = 0
    for array in subject.layout.sharded:
        for shard in range(array.num_shards):
            with (subject.path / array.file(shard)).open("rb") as stream:
                used = len(array.locations_in(shard)) * array.chunks_per_location
                codecs.require_packed(stream.fileno(), codecs.read_index(stream.fileno(), array.slots), used)
            number += used
    return f"{number} chunks placed"


def chunks(subject: Subject) -> str:
    """Chunks fit their checksums and decode to the size that the array says."""
    number = 0
    for array in subject.layout.sharded:
        for index, season in subject.chunks(array):
            subject.shards.read(array, index, season)
            number += 1
    return f"{number} chunks decoded"


def checksums_listed(subject: Subject) -> str:
    """checksums.json seals itself, lists every file that is no shard, and each fits."""
    files = checksums.load(subject.path)
    times = [name for array in subject.layout.times.values() for name in array.files]
    wanted = {*_wanted(subject), *subject.layout.tables, *times, SKIPPED, SHARDS}
    require_equal("the set of files", sorted(files), sorted(wanted))
    for name, digest in files.items():
        reason = checksums.fault_of(subject.path, name, digest)
        if reason is not None:
            raise refuse(f"{name}: {reason}")
    return f"{len(files)} files"


def shards_listed(subject: Subject) -> str:
    """shards.json tells the identity of every shard file."""
    known = identity.load(subject.path)
    names = {array.file(shard): array.slots for array in subject.layout.sharded for shard in range(array.num_shards)}
    require_equal("the set of shards", sorted(known), sorted(names))
    for name, slots in names.items():
        with (subject.path / name).open("rb") as stream:
            require_equal(f"the identity of {name}", known[name], identity.identify(stream.fileno(), slots))
    return f"{len(known)} shards"


def verified(subject: Subject) -> str:
    """Verify finds nothing: no damage, no file too many."""
    report = verify_archive(subject.path)
    if report.faults:
        raise refuse(f"{len(report.faults)} faults; {report.faults[0].file}: {report.faults[0].reason}")
    return f"{report.num_files} files, {report.num_chunks} chunks, {report.num_bytes} bytes"


def readable(subject: Subject) -> str:
    """Our reader opens it and gives the first and the last location with all metadata."""
    archive = open_archive(subject.path)
    for index in {0, len(archive) - 1}:
        archive.sample(index)
    return repr(archive)


def _wanted(subject: Subject) -> Mapping[str, Any]:
    return subject.layout.documents({name: {} for name in subject.layout.bands}, {})


def _arrays(subject: Subject, *keys: str) -> str:
    """Compare fields of all array nodes with those of the format."""
    names = [name for name, node in _wanted(subject).items() if node["node_type"] == "array"]
    for name in names:
        found = subject.document(name)
        for key in keys:
            require_equal(f"{key} of {name}", found.get(key), _wanted(subject)[name][key])
    return f"{', '.join(keys)} of {len(names)} arrays"


CHECKS: tuple[Callable[[Subject], str], ...] = (
    root_attributes,
    forms,
    groups,
    array_shapes,
    array_chunks,
    array_codecs,
    array_dimensions,
    consolidated,
    statistics,
    shard_files,
    shard_indices,
    chunks,
    checksums_listed,
    shards_listed,
    verified,
    readable,
)
