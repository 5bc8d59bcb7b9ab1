# SPDX-License-Identifier: Apache-2.0
"""A user's own catalog, from a YAML or JSON file whose keys are the fields of `Catalog` and `Profile`.

`like` takes everything from a known catalog and changes what is written: an address, a bucket, one profile of it
(matched by modality; fields that are not written are kept). The smallest file:

    name: mirror
    like: earth-search-c1
    api: https://stac.example.org/v1
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssl4eo.collection.remote.stac.catalogs import catalog as known_catalog
from ssl4eo.collection.remote.stac.profile import Bucket, Catalog, Profile
from ssl4eo.errors import ConfigInvalid, DataMissing, unknown_name


def load_catalog(path: Path | str) -> Catalog:
    """Read a catalog from a file.

    Raises:
        DataMissing: there is no such file.
        ConfigInvalid: no YAML or JSON, or fields that are missing or of another kind.
        UnknownName: a field, a modality, or a catalog after `like` that there is not.
    """
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="a catalog as YAML or JSON", path=str(path))
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigInvalid(f"{path} cannot be read ({error})", expected="YAML or JSON", path=str(path)) from error
    return catalog_of(data, str(path))


def catalog_of(data: object, place: str = "catalog") -> Catalog:
    """Make a catalog of plain values.

    Raises:
        ConfigInvalid, UnknownName: see `load_catalog`.
    """
    fields = dict(_mapping(data, place))
    base = known_catalog(fields.pop("like")) if "like" in fields else None
    profiles = fields.pop("profiles", None)
    if profiles is not None or base is None:
        fields["profiles"] = _profiles(profiles, base, place)
    if "buckets" in fields:
        buckets = _mapping(fields["buckets"], f"buckets of {place}")
        fields["buckets"] = {
            name: _made(Bucket, row, None, f"bucket {name} of {place}") for name, row in buckets.items()
        }
    return _made(Catalog, fields, base, place)


def _profiles(rows: object, base: Catalog | None, place: str) -> tuple[Profile, ...]:
    if not isinstance(rows, list) or not rows:
        raise ConfigInvalid(f"{place} has no profiles", expected="a list of them", remedy="see docs/stac.md")
    known = {profile.modality: profile for profile in base.profiles} if base else {}
    made: list[Profile] = []
    for row in rows:
        fields = _mapping(row, f"a profile of {place}")
        made.append(_made(Profile, fields, known.get(fields.get("modality", "")), f"a profile of {place}"))
    return tuple(made)


def _made(kind: type[Any], row: object, base: Any, place: str) -> Any:
    """Make a dataclass of a mapping, with what it leaves out from another one."""
    fields = dict(_mapping(row, place))
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in fields.items():
        if name not in known:
            raise unknown_name(f"field of {place}", name, known)
        fields[name] = _checked(value, str(known[name].type), f"{name} of {place}")
    required = [
        field.name
        for field in known.values()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in fields and base is None]
    if missing:
        raise ConfigInvalid(f"{place} lacks {', '.join(missing)}", expected=", ".join(required))
    return dataclasses.replace(base, **fields) if base is not None else kind(**fields)


def _checked(value: Any, annotation: str, place: str) -> Any:
    """Refuse values of another kind than the field's."""
    if annotation.startswith("tuple"):
        if not isinstance(value, list | tuple):
            raise ConfigInvalid(f"{place} is {value!r}", expected="a list")
        return tuple(value)
    kinds: Mapping[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}
    if annotation.startswith("Mapping"):
        return dict(_mapping(value, place))
    if not isinstance(value, kinds[annotation]) or (isinstance(value, bool) and annotation != "bool"):
        raise ConfigInvalid(f"{place} is {value!r}", expected=annotation)
    return value


def _mapping(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigInvalid(f"{place} is {value!r}", expected="names and values")
    return value
