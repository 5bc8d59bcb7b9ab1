# SPDX-License-Identifier: Apache-2.0
"""The services by name: a row for each, opened when it is asked for; nothing is asked of it before it is used.

One of the user's own is a function without arguments that gives a Service, named as `module:name`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ssl4eo.collection.remote.service import Service
from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.extension import is_own, load_own, require_own

if TYPE_CHECKING:
    from ssl4eo.collecting.published import PublishedService
    from ssl4eo.collection.remote.earthengine import EarthEngine
    from ssl4eo.collection.remote.stac.service import StacService

PLAIN = ("earthengine", "synthetic", "published")
"""Those that are no STAC catalog."""
MOST_CALLS = 40
"""Calls at a time that Earth Engine allows a project by default."""

Offset = Literal["harmonize", "keep"]
"""Whether +1000 DN of processing baseline 04.00 and later are taken away."""
Orbit = Literal["ascending", "descending"]


@dataclass(frozen=True)
class ServiceOptions:
    """Options of the command line; each service knows some."""

    project: str = ""
    """Google Cloud project, of earthengine."""
    key_file: Path | None = None
    """Key of a service account, of earthengine."""
    catalog: Path | None = None
    """File with a STAC catalog of the user's own."""
    offset: Offset | None = None
    """Of earthengine and STAC; None harmonizes."""
    orbit: Orbit | None = None
    """Of Sentinel-1 from earthengine; None takes both."""
    archive: Path | None = None
    """Archive or folder of a published layout, of published."""
    bands: tuple[str, ...] = ()
    """Of published; empty takes all."""
    seed: int = 0
    """Of the synthetic planet."""
    connections: int = 16
    """Requests at a time."""

    def require_only(self, name: str, *known: str) -> None:
        """Refuse options of other services.

        Raises:
            ConfigInvalid: one is given.
        """
        known_to_some = ("project", "key_file", "catalog", "offset", "orbit", "archive", "bands")
        given = {n for n in known_to_some if getattr(self, n)}
        foreign = ", ".join(sorted(given - set(known))).replace("_", "-")
        if foreign:
            raise ConfigInvalid(
                f"source {name} has no option {foreign}; it has {', '.join(known).replace('_', '-') or 'none'}",
                remedy=f"leave out {foreign}",
            )


def service_names() -> tuple[str, ...]:
    """List all services that are known by name."""
    from ssl4eo.collection.remote.stac.catalogs import CATALOGS

    return (*PLAIN, *CATALOGS)


def open_service(name: str, options: ServiceOptions | None = None) -> Service:
    """Open a service.

    Args:
        name: earthengine, synthetic, published, or a STAC catalog; or `module:name` or `file.py:name` of a function of
            one's own that gives a Service.
        options: see there.

    Raises:
        UnknownName: no such service; the message lists all.
        ConfigInvalid: an option of another service, or a service of one's own that cannot be had.
        DataMissing: no file of a catalog.
    """
    options = options or ServiceOptions()
    if is_own(name):
        options.require_only(name)
        found = load_own("service", name, fits=callable)
        expected = "a function without arguments that gives a Service"
        require_own("service", name, found, expected=expected, fits=callable(found))
        return found()
    if name == "synthetic":
        from ssl4eo.collection.remote.synthetic import SyntheticService

        options.require_only(name)
        return SyntheticService(options.seed)
    if name == "published":
        options.require_only(name, "archive", "bands")
        return _published(options)
    if name == "earthengine":
        options.require_only(name, "project", "key_file", "offset", "orbit")
        return _earthengine(options)
    return _stac(name, options)


def _earthengine(options: ServiceOptions) -> EarthEngine:
    from ssl4eo.collection.remote.earthengine import EarthEngine
    from ssl4eo.collection.remote.earthengine_products import MODALITIES, earthengine_product
    from ssl4eo.collection.remote.earthengine_session import Account

    calls = min(options.connections, MOST_CALLS)
    account = Account(project=options.project, key_file=options.key_file, concurrent=calls)
    products = {
        name: earthengine_product(
            name, harmonized=options.offset != "keep", orbit=(options.orbit or "") if name == "S1GRD" else ""
        )
        for name in MODALITIES
    }
    return EarthEngine(account=account, products=products)


def _published(options: ServiceOptions) -> PublishedService:
    from ssl4eo.collecting.published import PublishedService

    if options.archive is None:
        raise ConfigInvalid("source published without an archive", expected="--archive", remedy="name one")
    return PublishedService(options.archive.absolute(), options.bands)  # workers may stand elsewhere


def _stac(name: str, options: ServiceOptions) -> StacService:
    from ssl4eo.collection.remote.stac.catalog_file import load_catalog
    from ssl4eo.collection.remote.stac.catalogs import CATALOGS
    from ssl4eo.collection.remote.stac.service import StacService

    own = [load_catalog(options.catalog)] if options.catalog is not None else []
    known = {**CATALOGS, **{catalog.name: catalog for catalog in own}}
    if name not in known:
        raise unknown_name("source", name, (*PLAIN, *known))
    options.require_only(name, "catalog", "offset")
    if own and name != own[0].name:
        raise ConfigInvalid(
            f"source {name} with a file of catalog {own[0].name}", expected=f"source {own[0].name}, or no file"
        )
    return StacService(known[name], offset=options.offset or "harmonize", connections=options.connections)
