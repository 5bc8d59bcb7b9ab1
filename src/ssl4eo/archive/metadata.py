# SPDX-License-Identifier: Apache-2.0
"""The zarr.json files of an archive, read and held against format 2.

Format 2 fixes every node, so the nodes are made again from the root's attributes and compared, rather than
interpreted. Reads no pixels and no tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.archive import checksums
from ssl4eo.archive.checksums import Digest
from ssl4eo.archive.journal import partial_path
from ssl4eo.archive.layout import FORMAT, ROOT, SHARDS, SKIPPED, Layout, Spec
from ssl4eo.archive.statistics import Statistics
from ssl4eo.contract import Contract
from ssl4eo.errors import ArchiveInvalid, DataMissing, Ssl4eoError


@dataclass(frozen=True)
class Metadata:
    """What the JSON files of an archive say."""

    layout: Layout
    contracts: Mapping[str, Contract | None]
    """By modality; None where images contain different offsets."""
    statistics: Mapping[str, Statistics | None]
    """By modality, None where they were not measured."""
    facts: Mapping[str, str]
    files: Mapping[str, Digest]
    """Checksums of all files but the shards."""


def load_metadata(path: Path) -> Metadata:
    """Read and check all metadata of an archive.

    Raises:
        DataMissing: there is nothing at `path`.
        ArchiveInvalid: it is no archive, of another version, or its metadata is damaged or contradicts itself.
    """
    root = _root(path)
    layout, facts = _layout(path, root)
    files = checksums.load(path)
    documents = {name: _json(path, name) for name in layout.documents({key: {} for key in layout.bands}, {})}
    contracts = {name: _contract(path, name, layout, documents[f"{name}/zarr.json"]) for name in layout.bands}
    _compare(path, layout, documents)
    _check_files(path, layout, documents, files)
    figures = {name: _statistics(path, name, documents[f"{name}/zarr.json"]) for name in layout.bands}
    return Metadata(layout, contracts, figures, facts, files)


def read_layout(path: Path) -> Layout:
    """Read only the root, so that damage elsewhere can be told apart.

    Raises:
        DataMissing: there is nothing at `path`.
        ArchiveInvalid: it is no archive, of another version, or the root is damaged.
    """
    return _layout(path, _root(path))[0]


def _root(path: Path) -> dict[str, Any]:
    if not path.exists():
        partial = partial_path(path)
        hint = f"{partial.name} is one cut short: run the same command again" if partial.exists() else "check the path"
        raise DataMissing(f"there is no {path}", expected="an archive", remedy=hint, path=str(path))
    if path.is_file():
        raise ArchiveInvalid(
            f"{path} is a file",
            expected=f"the folder of an archive, which holds {ROOT}",
            remedy=f"name the folder{f': {path.parent}' if path.name == ROOT else ''}",
            path=str(path),
        )
    if not (path / ROOT).is_file():
        raise _invalid(path, f"{path} has no {ROOT}", "a folder that `ssl4eo pack` or `ssl4eo collect` made")
    root = _json(path, ROOT)
    about = root.get("attributes")
    about = about.get("ssl4eo") if isinstance(about, dict) else None
    if not isinstance(about, dict):
        raise _invalid(path, f"{path / ROOT} has no attribute `ssl4eo`", "a Zarr group that `ssl4eo pack` made")
    if about.get("format") != FORMAT:
        raise ArchiveInvalid(
            f"{path} has format {about.get('format')!r}",
            expected=f"format {FORMAT}",
            remedy="read it with the version of ssl4eo that wrote it, or pack anew",
            path=str(path),
        )
    return root


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _invalid(path, f"{path / name} is missing", "the metadata of every group and array") from error
    except (OSError, ValueError) as error:
        raise _invalid(path, f"{path / name} cannot be read ({error})", "JSON") from error
    if not isinstance(data, dict):
        raise _invalid(path, f"{path / name} holds a {type(data).__name__}", "a JSON object")
    return data


def _layout(path: Path, root: Mapping[str, Any]) -> tuple[Layout, dict[str, str]]:
    about = root["attributes"]["ssl4eo"]
    try:
        num_locations = about["num_locations"]
        if not isinstance(num_locations, int) or num_locations < 1:
            raise ValueError(f"num_locations is {num_locations!r}")
        facts = {name: str(about[name]) for name in ("created", "software")}
        return Layout(Spec.from_json(about), num_locations), facts
    except (Ssl4eoError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise _invalid(path, f"the root attributes of {path} are wrong: {reason}", "those of format 2") from error


def _contract(path: Path, name: str, layout: Layout, document: Mapping[str, Any]) -> Contract | None:
    try:
        data = dict(document["attributes"]["contract"])
        differ = data["offset"] is None
        contract = Contract.from_json({**data, "offset": 0} if differ else data)
        expected = layout.spec.form(name).contract(contract.offset)
        if contract != expected:
            raise ValueError(f"it says {contract}, the root {expected}")
    except (Ssl4eoError, KeyError, TypeError, ValueError) as error:
        raise _invalid(path, f"the contract of {name} in {path} is wrong: {error}", f"a contract for {name}") from error
    return None if differ else contract


def _statistics(path: Path, name: str, document: Mapping[str, Any]) -> Statistics | None:
    try:
        data = document["attributes"]["statistics"]
        return None if data is None else Statistics.from_json(data)
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(
            path, f"the statistics of {name} in {path} are wrong: {error}", "figures for each band"
        ) from error


def _compare(path: Path, layout: Layout, documents: Mapping[str, Mapping[str, Any]]) -> None:
    about = {name: documents[f"{name}/zarr.json"]["attributes"] for name in layout.bands}
    expected = layout.documents(about, {})
    for name, wanted in expected.items():
        if name == ROOT:
            continue
        found = documents[name]
        for key, value in wanted.items():
            if found.get(key) != value:
                raise _invalid(path, f"{path / name} says {key} {found.get(key)}", f"{value}, as the root tells")
    copies = documents[ROOT].get("consolidated_metadata")
    copies = copies.get("metadata") if isinstance(copies, dict) else None
    if copies != {name.removesuffix("/zarr.json"): documents[name] for name in expected if name != ROOT}:
        raise _invalid(
            path, f"the consolidated metadata of {path} differs from its nodes' own", "the same metadata in both places"
        )


def _check_files(path: Path, layout: Layout, documents: Mapping[str, Any], files: Mapping[str, Digest]) -> None:
    times = [name for array in layout.times.values() for name in array.files]
    wanted = {*documents, *layout.tables, *times, SKIPPED, SHARDS}
    if set(files) != wanted:
        odd = sorted(set(files) ^ wanted)
        raise _invalid(path, f"the checksums of {path} leave out or add {', '.join(odd)}", "one for each file")
    for name in documents:
        reason = checksums.fault_of(path, name, files[name])
        if reason is not None:
            raise _invalid(path, f"{path / name} was changed after it was written: {reason}", "the file as written")


def _invalid(path: Path, found: str, expected: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        found,
        expected=expected,
        remedy="name the archive's own folder; if it is, copy the damaged file again or pack anew",
        path=str(path),
    )
