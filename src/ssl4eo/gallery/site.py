# SPDX-License-Identifier: Apache-2.0
"""One scheme of paths: `Site.resource(path)` makes the bytes of any file of the gallery.

The server answers with it on demand, the static writer walks `shared_paths` and `location_paths` and keeps the result.
A path is matched as a whole against the table at the end of this module; what does not match is not there.

    index.html, app/...                         the front end
    data/archive.json                           what the archive is, its columns, blocks and files of ids
    data/land/{piece}.bin                       base map
    data/cells.bin, data/cells/{column}.bin     the world at a glance
    data/blocks/{n}/position.bin, ids.json, {column}.bin or .json
    data/ids/{n}.json                           all ids, sorted
    data/likeness.json, data/likeness/{n}/{block}.bin, place/{shard}/{id}/like-{n}.json     of embeddings
    place/{shard}/{id}/info.json, histograms.json, shared.json, thumb.webp
    place/{shard}/{id}/{modality}-{season}-{composite}-{stretch}.webp
    place/{shard}/{id}/{modality}-{season}-{resolution}m.tif, {modality}-{season}.npz
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ssl4eo.archive.plausible import doubts_of
from ssl4eo.archive.reader import Archive
from ssl4eo.errors import DataMissing, LocationMissing, UnknownName
from ssl4eo.gallery.assets import assets, media_type
from ssl4eo.gallery.blocks import Blocks
from ssl4eo.gallery.columns import Places, read_places
from ssl4eo.gallery.land import PIECE, piece, piece_names
from ssl4eo.gallery.likeness import LikenessFiles
from ssl4eo.gallery.location import LocationFiles, thumb_modality
from ssl4eo.pictures.composites import composites_of
from ssl4eo.pictures.stretches import STRETCHES, is_measured, note_of
from ssl4eo.sample import ID_PATTERN
from ssl4eo.sensors import modality as known_modality

SHARDS = 256
"""Folders that locations are dealt to, so that none grows too large."""


def shard_of(location: str) -> str:
    """Name the folder of a location: the low byte of its FNV-1a hash; the front end computes the same.

    >>> shard_of("0000017"), shard_of("a")
    ('47', '2c')
    """
    value = 0x811C9DC5
    for byte in location.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value % SHARDS:02x}"


def folder_of(location: str) -> str:
    """Give the folder of a location in the site."""
    return f"place/{shard_of(location)}/{location}"


@dataclass(frozen=True)
class Resource:
    """A file of the site."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Offer:
    """What a site has of each location; a static site may have less than the server gives."""

    composites: tuple[str, ...] | None = None
    """Names of the composites; None for all."""
    stretches: tuple[str, ...] = tuple(STRETCHES)
    pixels: bool = True
    """Whether GeoTIFF and NumPy files are there."""
    embeddings: tuple[str, ...] = ()
    """Files of `ssl4eo embed`, of this archive."""


class Site:
    """The gallery of one archive.

    Args:
        archive: to show.
        offer: what of it.
        places: its locations as arrays; read from the archive without it.
    """

    def __init__(self, archive: Archive, *, offer: Offer | None = None, places: Places | None = None) -> None:
        self.archive = archive
        self.offer = offer or Offer()
        self.likeness = LikenessFiles(archive, self.offer.embeddings) if self.offer.embeddings else None
        if places is None:
            places = read_places(archive)
            if self.likeness is not None:
                places = replace(places, columns=(*places.columns, *self.likeness.columns()))
        self.blocks = Blocks(places)
        self.files = LocationFiles(archive)
        self._composites = {name: self._offered(name) for name in archive.modalities}

    def _offered(self, modality: str) -> list[dict[str, Any]]:
        wanted = self.offer.composites
        found = composites_of(modality, self.archive.form(modality).bands)
        chosen = [c for c in found.values() if wanted is None or c.name in wanted]
        if not chosen:  # a modality is never without a picture
            chosen = [next(iter(found.values()))]
        return [
            {
                "name": c.name,
                "slug": c.slug,
                "title": c.title,
                "note": note_of(c),
                "shared": is_measured(modality, c, "shared"),
            }
            for c in chosen
        ]

    def resource(self, path: str) -> Resource:
        """Make a file of the site.

        Raises:
            DataMissing: the site has no such path.
            ShardCorrupt, OSError: the archive is damaged there.
        """
        for pattern, make in ROUTES:
            found = pattern.fullmatch(path)
            if found is not None:
                try:
                    return Resource(make(self, **found.groupdict()), media_type(path))
                except (LocationMissing, UnknownName, IndexError, KeyError) as error:
                    raise DataMissing(f"the gallery has no {path!r}", expected="a path of this gallery") from error
        raise DataMissing(f"the gallery has no {path!r}", expected="a path of this gallery")

    def shared_paths(self) -> Iterator[str]:
        """List all paths but those of locations."""
        yield from assets()
        yield "data/archive.json"
        yield from (f"data/land/{name}.bin" for name in piece_names())
        yield "data/cells.bin"
        columns = self.blocks.columns.values()
        yield from (f"data/cells/{column.key}.bin" for column in columns if column.kind != "text")
        for block in range(len(self.blocks.rows)):
            yield f"data/blocks/{block}/position.bin"
            yield f"data/blocks/{block}/ids.json"
            for column in columns:
                yield f"data/blocks/{block}/{column.key}.{'json' if column.kind == 'text' else 'bin'}"
        yield from (f"data/ids/{number}.json" for number in range(len(self.blocks.id_files())))
        if self.likeness is not None:
            yield "data/likeness.json"
            for number in range(len(self.likeness.sets)):
                yield from (f"data/likeness/{number}/{block}.bin" for block in range(len(self.blocks.rows)))

    def location_paths(self, location: str) -> Iterator[str]:
        """List the paths of one location, its information last."""
        folder = folder_of(location)
        yield f"{folder}/thumb.webp"
        yield f"{folder}/histograms.json"
        for modality, composites in self._composites.items():
            for season in range(self.archive.num_seasons):
                for composite in composites:
                    yield from (
                        f"{folder}/{modality}-{season}-{composite['slug']}-{stretch}.webp"
                        for stretch in self.offer.stretches
                    )
                if self.offer.pixels:
                    yield f"{folder}/{modality}-{season}.npz"
                    yield from (
                        f"{folder}/{modality}-{season}-{resolution}m.tif"
                        for resolution in self.archive.form(modality).resolutions
                    )
        if "shared" in self.offer.stretches:
            yield f"{folder}/shared.json"
        yield from (f"{folder}/like-{number}.json" for number in range(len(self.offer.embeddings)))
        yield f"{folder}/info.json"

    def warm(self) -> None:
        """Make what every first visit asks for, so that it need not wait for it."""
        for path in ("data/archive.json", "data/cells.bin", "data/land/world.bin"):
            self.resource(path)

    @cached_property
    def manifest(self) -> bytes:
        """What `about` tells, as JSON."""
        return json.dumps(self.about(), ensure_ascii=False).encode()

    def about(self) -> dict[str, Any]:
        """Tell what the archive is and which files there are, for the front end."""
        archive, provenance = self.archive, self.archive.provenance
        return {
            "name": archive.path.name,
            "title": provenance.title,
            "synthetic": provenance.synthetic,
            "licence": provenance.licence,
            "details": {name: str(value) for name, value in provenance.details.items()},
            "facts": dict(archive.facts),
            "count": len(self.blocks.places),
            "seasons": archive.num_seasons,
            "shape": list(archive.shape),
            "warnings": [str(doubt) for doubt in doubts_of(archive)],
            "skipped": len(archive.skipped),
            "modalities": [self._modality(name) for name in archive.modalities],
            "thumb": thumb_modality(archive),
            "stretches": [{"name": name, "title": STRETCHES[name]} for name in self.offer.stretches],
            "pixels": self.offer.pixels,
            "piece": PIECE,
            "left_out": dict(self.blocks.places.left_out),
            "columns": [column.describe() for column in self.blocks.columns.values()],
            "blocks": self.blocks.describe(),
            "ids": self.blocks.id_files(),
            "likeness": [] if self.likeness is None else self.likeness.about(),
        }

    def _modality(self, name: str) -> dict[str, Any]:
        form, known = self.archive.form(name), known_modality(name)
        return {
            "name": name,
            "title": known.title,
            "unit": known.unit,
            "dtype": form.dtype,
            "scaling": form.scaling,
            "groups": {str(r): list(bands) for r, bands in form.groups},
            "bands": {band: known.channels[band].title for band in form.bands},
            "composites": self._composites[name],
        }

    def location(self, shard: str, location: str) -> str:
        """Check an id and its shard.

        Raises:
            LocationMissing: the archive has no such id, or it lies in another shard.
        """
        if shard != shard_of(location):
            raise LocationMissing(f"location {location!r} in shard {shard}", expected=shard_of(location))
        self.archive.index_of(location)
        return location

    def picture(self, *, modality: str, season: str, composite: str, stretch: str, **name: str) -> bytes:
        """Draw an image as a path names it."""
        names = {row["slug"]: row["name"] for row in self._composites[modality]}
        if stretch not in self.offer.stretches:
            raise UnknownName(f"stretch {stretch!r}", expected=", ".join(self.offer.stretches))
        return self.files.picture(self.location(**name), modality, self._season(season), names[composite], stretch)

    def shared(self, **name: str) -> bytes:
        """Tell over how many seasons the `shared` brightness of each composite was taken."""
        if "shared" not in self.offer.stretches:
            raise UnknownName("stretch 'shared'", expected=", ".join(self.offer.stretches))
        composites = {
            modality: [row["name"] for row in rows if row["shared"]] for modality, rows in self._composites.items()
        }
        return self.files.shared(self.location(**name), composites)

    def geotiff(self, *, modality: str, season: str, resolution: str, **name: str) -> bytes:
        """Write one native grid of an image as a path names it."""
        if not self.offer.pixels or int(resolution) not in self.archive.form(modality).resolutions:
            raise UnknownName(f"{modality} at {resolution} m", expected="a grid that is offered")
        return self.files.geotiff(self.location(**name), modality, self._season(season), int(resolution))

    def arrays(self, *, modality: str, season: str, **name: str) -> bytes:
        """Write an image as NumPy arrays as a path names it."""
        if not self.offer.pixels:
            raise UnknownName("pixels", expected="pictures")
        return self.files.arrays(self.location(**name), modality, self._season(season))

    def alike(self) -> LikenessFiles:
        """Give what makes the files of embeddings.

        Raises:
            UnknownName: the site has none.
        """
        if self.likeness is None:
            raise UnknownName("embeddings", expected="none in this gallery")
        return self.likeness

    def _season(self, season: str) -> int:
        self.archive.check_season(int(season))
        return int(season)


def _piece(name: str) -> bytes:
    if name not in piece_names():
        raise KeyError(name)
    return piece(name)


_PLACE = rf"place/(?P<shard>[0-9a-f]{{2}})/(?P<location>{ID_PATTERN})/"
_IMAGE = _PLACE + r"(?P<modality>[A-Z0-9]+)-(?P<season>\d{1,6})"
_BLOCK = r"data/blocks/(?P<block>\d{1,6})/"
_KEY = r"(?P<key>[A-Za-z0-9-]+)"

_TABLE: tuple[tuple[str, Callable[..., bytes]], ...] = (
    (r"(?P<path>index\.html|app/[A-Za-z0-9/._-]+)", lambda _, path: assets()[path].read_bytes()),
    (r"data/archive\.json", lambda site: site.manifest),
    (r"data/land/(?P<name>[a-z0-9-]+)\.bin", lambda _, name: _piece(name)),
    (r"data/cells\.bin", lambda site: site.blocks.cells),
    (rf"data/cells/{_KEY}\.bin", lambda site, key: site.blocks.cell_column(key)),
    (rf"{_BLOCK}position\.bin", lambda site, block: site.blocks.position(int(block))),
    (rf"{_BLOCK}ids\.json", lambda site, block: site.blocks.ids(int(block))),
    (rf"{_BLOCK}{_KEY}\.bin", lambda site, block, key: site.blocks.column(int(block), key)),
    (rf"{_BLOCK}{_KEY}\.json", lambda site, block, key: site.blocks.text(int(block), key)),
    (r"data/ids/(?P<number>\d{1,6})\.json", lambda site, number: site.blocks.id_file(int(number))),
    (r"data/likeness\.json", lambda site: site.alike().summary()),
    (
        r"data/likeness/(?P<number>\d{1,3})/(?P<block>\d{1,6})\.bin",
        lambda site, number, block: site.alike().plane(int(number), site.blocks.rows[int(block)]),
    ),
    (
        rf"{_PLACE}like-(?P<number>\d{{1,3}})\.json",
        lambda site, number, **name: site.alike().like(int(number), site.location(**name)),
    ),
    (rf"{_PLACE}info\.json", lambda site, **name: site.files.info(site.location(**name))),
    (rf"{_PLACE}histograms\.json", lambda site, **name: site.files.histograms(site.location(**name))),
    (rf"{_PLACE}shared\.json", Site.shared),
    (rf"{_PLACE}thumb\.webp", lambda site, **name: site.files.thumb(site.location(**name))),
    (rf"{_IMAGE}-(?P<composite>[a-zA-Z0-9_-]+)-(?P<stretch>[a-z]+)\.webp", Site.picture),
    (rf"{_IMAGE}-(?P<resolution>\d{{1,5}})m\.tif", Site.geotiff),
    (rf"{_IMAGE}\.npz", Site.arrays),
)
ROUTES = tuple((re.compile(pattern, re.ASCII), make) for pattern, make in _TABLE)
"""Patterns of whole paths, and what makes the bytes from the site and the named parts."""
