# SPDX-License-Identifier: Apache-2.0
"""What an archive keeps of a sample besides pixels, as plain values for the journal and the tables.

Checks a sample against the archive's spec on the way; holds no pixels, writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ssl4eo.archive.layout import Spec, to_seconds
from ssl4eo.errors import SampleInvalid
from ssl4eo.sample import Image, Sample

RESERVED = ("id", "geometry")
"""Columns of the location table that no label can have."""
KINDS: Mapping[type, str] = {int: "int", float: "float", str: "str"}


def check_sample(sample: Sample, spec: Spec) -> None:
    """Raise unless a sample is what the archive is made of.

    Raises:
        SampleInvalid: other modalities, seasons, size or masks.
    """
    forms = {form.modality: replace(form, step=None) for form in spec.forms}
    rows = (
        ("modalities", sorted(sample.images), sorted(spec.modalities)),
        ("forms", {form.modality: replace(form, step=None) for form in sample.forms}, forms),
        ("seasons", sample.num_seasons, spec.num_seasons),
        ("shape", sample.shape, spec.shape),
        ("masks", {name: mask.ndim == 3 for name, mask in sample.masks.items()}, dict(spec.masks)),
    )
    for what, found, expected in rows:
        if found != expected:
            raise SampleInvalid(
                f"sample {sample.location.id} has {what} {found}",
                expected=f"{expected}, as the archive has",
                location=sample.location.id,
            )


def location_record(sample: Sample) -> dict[str, Any]:
    """Give id, coordinates and labels of a sample as plain values.

    Raises:
        SampleInvalid: a label with a reserved name or of a type that no column can hold.
    """
    place = sample.location
    labels = {name: _plain(place.id, name, value) for name, value in sample.labels.items()}
    return {"id": place.id, "lon": place.lon, "lat": place.lat, "labels": labels}


def _plain(location: str, name: str, value: object) -> int | float | str:
    plain = value.item() if isinstance(value, np.generic) else value
    if name in RESERVED:
        raise SampleInvalid(f"sample {location} has a label called {name!r}", expected="another name")
    if isinstance(plain, bool) or not isinstance(plain, int | float | str):
        raise SampleInvalid(f"sample {location} has label {name} = {value!r}", expected="int, float or str")
    if isinstance(plain, float) and not math.isfinite(plain):
        raise SampleInvalid(f"sample {location} has label {name} = {value!r}", expected="a finite number")
    if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
        raise SampleInvalid(f"sample {location} has label {name} = {value!r}", expected="an integer of 64 bits")
    return plain


def merge_kinds(kinds: dict[str, str], record: Mapping[str, Any]) -> dict[str, str]:
    """Give the label columns and their types with one more location.

    Raises:
        SampleInvalid: the location's label is of another type than before.
    """
    merged = dict(kinds)
    for name, value in record["labels"].items():
        kind = KINDS[type(value)]
        if merged.setdefault(name, kind) != kind:
            raise SampleInvalid(
                f"sample {record['id']} has {kind} label {name} = {value!r}",
                expected=f"{merged[name]}, as the samples before it",
                location=record["id"],
            )
    return merged


def kinds_of(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Give the label columns of some locations and their types."""
    kinds: dict[str, str] = {}
    for record in records:
        kinds = merge_kinds(kinds, record)
    return kinds


def image_record(image: Image) -> dict[str, Any]:
    """Give time and metadata of an image as plain values."""
    return {
        "time": to_seconds(image.time),
        "product": image.product,
        "baseline": image.baseline,
        "offset": image.offset,
        "crs": image.crs,
        "transform": None if image.transform is None else [float(v) for v in image.transform],
        "valid": image.valid,
    }
