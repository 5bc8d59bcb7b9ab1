# SPDX-License-Identifier: Apache-2.0
"""Places as GeoJSON (RFC 7946): a point feature for each, with id, attempt and facts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssl4eo.files import whole_or_told
from ssl4eo.locations.table import PlaceTable


def write_geojson(path: Path, table: PlaceTable) -> None:
    """Write all points, whole or not at all.

    Raises:
        WriteFailed: the disk is full or refuses.
    """
    with whole_or_told(path) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(_features(table)):
            stream.write((",\n" if number else "\n") + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        stream.write("\n]}\n")


def _features(table: PlaceTable) -> Iterator[dict[str, Any]]:
    rows = zip(table.ids, table.attempts.tolist(), table.lons.tolist(), table.lats.tolist(), strict=True)
    for number, (place, attempt, lon, lat) in enumerate(rows):
        known = {name: column[number] for name, column in table.facts.items()}
        yield {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
            "properties": {"id": place, "attempt": attempt, **known},
        }
