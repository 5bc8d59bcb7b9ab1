# SPDX-License-Identifier: Apache-2.0
"""From options to what is collected: places of a table, products of a service, one grid for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl4eo.archive.reader import open_archive
from ssl4eo.collecting.seasons import PlaceWindows
from ssl4eo.collection.remote.collected import CollectedSource
from ssl4eo.collection.remote.selection import Choice
from ssl4eo.collection.remote.service import Service
from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.locations.place import Place
from ssl4eo.locations.reading import read_places
from ssl4eo.sample import Provenance


def collected_source(
    service: Service,
    places: Path | Sequence[Place],
    windows: PlaceWindows,
    modalities: Sequence[str],
    *,
    choice: Choice,
    size: int,
    not_in: Sequence[Path] = (),
) -> CollectedSource:
    """Put together what is collected; nothing is asked of the service.

    Args:
        service: who is asked.
        places: a file of places, or they themselves.
        windows: of their seasons.
        modalities: products, in the order of the archive.
        choice: of scenes.
        size: width and height of a patch on the finest grid [px].
        not_in: archives whose places are left out.

    Raises:
        ConfigInvalid: no modality, one twice, or a size that leaves no whole pixels.
        DataMissing: no place is left.
    """
    if not modalities or len(set(modalities)) != len(modalities):
        raise ConfigInvalid(f"modalities {' '.join(modalities) or '(none)'}", expected="one or more, each once")
    products = {name: service.product(name) for name in modalities}
    base = min(product.form.base for product in products.values())
    snap = max(resolution for product in products.values() for resolution in product.form.resolutions)
    licences = sorted({product.licence for product in products.values() if product.licence})
    listed = read_places(places) if isinstance(places, Path) else places
    known = {name for path in not_in for name in open_archive(path).ids}
    table = {place.id: place for place in listed if place.id not in known}
    if not table:
        raise DataMissing(f"all {len(listed)} places are in {', '.join(map(str, not_in))}", expected="one that is not")
    title = f"collected from {service.name}, places of {places.name if isinstance(places, Path) else 'its own'}"
    synthetic = service.name.startswith("synthetic")
    provenance = Provenance(title, synthetic=synthetic, licence="; ".join(licences) or "see the source")
    return CollectedSource(
        service, table, windows, products, provenance, windows.num_seasons, choice, size=size, base=base,
        snap=snap if (size * base) % 60 else 60,
    )  # fmt: skip
