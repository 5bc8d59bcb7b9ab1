# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo collect`: images of places into an archive."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import filesize
from rich.console import Console

from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.progress import progress_bar

if TYPE_CHECKING:
    from ssl4eo.collecting.collect import CollectReport
    from ssl4eo.collecting.plan import Plan
    from ssl4eo.collection.remote.service import Service
    from ssl4eo.locations.place import Place

UNFINISHED = 3
"""Exit status of a collection whose archive is still open for places that failed."""
_ONLY_OF_PLANET = ("num_locations",)
_OF_PLANET = ("out", "source", "places", "modalities", "num_seasons", "seed", "size", "json", *_ONLY_OF_PLANET)
"""Options without --places."""
_DEFAULTS = ("S1GRD", "S2L1C", "S2L2A")


def run(  # noqa: PLR0913 - the options of the command line
    *,
    out: Path,
    source: str = "synthetic",
    places: Path | None = None,
    not_in: tuple[Path, ...] = (),
    modalities: tuple[str, ...] = _DEFAULTS,
    seasons: Literal["published", "dates", "calendar", "even"] = "published",
    dates: tuple[str, ...] = (),
    days: int | None = None,
    years: tuple[int, ...] = (),
    period: tuple[str, ...] = (),
    num_seasons: int | None = None,
    seed: int = 0,
    size: int = 264,
    order: Literal["clearest", "latest", "nearest"] = "clearest",
    max_cloud: float = 0.2,
    max_patch_cloud: float | None = None,
    min_observed: float = 1.0,
    tries: int = 4,
    project: str = "",
    key_file: Path | None = None,
    catalog: Path | None = None,
    archive: Path | None = None,
    bands: tuple[str, ...] = (),
    offset: Literal["harmonize", "keep"] | None = None,
    orbit: Literal["ascending", "descending"] | None = None,
    threads: int = 16,
    dask: str | None = None,
    patience_hours: float = 12.0,
    plan: bool = False,
    resume: bool = False,
    finish: bool = False,
    num_locations: int = 256,
    json: bool = False,
) -> int:
    """Collect images into an archive; run again after an interruption and it goes on.

    Example: ssl4eo collect --source earthengine --project mine --places places.parquet --out a.zarr --plan

    Without --places, from the synthetic planet: a small one made by a formula, seen by no satellite.

    Args:
        out: archive to make; it must not exist yet and appears when it is whole
        source: earthengine, a STAC catalog (earth-search, earth-search-c1,
            planetary-computer, cdse, or that of --catalog), published (out of --archive), synthetic;
            module:name or file.py:name for one of your own
        places: table of `ssl4eo locations draw`, or any CSV or GeoParquet with id, lon, lat; of published all that the
            archive has where it is not said
        not_in: archives whose places are left out
        modalities: products to collect, such as S1GRD S2L1C S2L2A
        seasons: rule of the dates: published (four, moved back by a random number of days a place), dates, calendar
            (seasons of the hemisphere), even
        dates: of seasons dates, YYYY-MM-DD
        days: before and after each date
        years: of seasons calendar; of seasons dates those added to each, such as 0 -1; the first in which all
            modalities see a season
        period: of seasons even: first day, and the day after the last
        num_seasons: of seasons even, or of the synthetic planet (4)
        seed: of what is drawn; of the synthetic planet
        size: width and height of a patch on the finest grid [px], a multiple of 6
        order: of the scenes of a season within a year: least cloudy, most recent, or nearest to the date first
        max_cloud: scenes of this cloud share or more are not tried [0 to 1]
        max_patch_cloud: patches of a larger cloud share by the pixel mask are refused [0 to 1]
        min_observed: patches that a scene covers less of are refused [0 to 1]
        tries: scenes of a season, in each of its years, that are read before a point is given up
        project: Google Cloud project, of earthengine
        key_file: JSON key of a service account, of earthengine
        catalog: YAML or JSON file with a STAC catalog of your own, whose name is the source
        archive: of published, what was collected before; an archive or a published layout of files
        bands: of published, those to take of every modality; all where it is not said
        offset: take the +1000 DN of processing baseline 04.00 and later away, or keep them; each image tells
        orbit: of Sentinel-1, from earthengine; both where it is not said
        threads: places under way at a time
        dask: address of a Dask scheduler that fetches, or local
        patience_hours: how long a service may stay away before the run ends
        plan: say what would be fetched and fetch nothing
        resume: only go on with what was begun
        finish: close the archive although places have failed
        num_locations: of the synthetic planet
        json: print the result as JSON

    Returns:
        Exit status 0; 3 where the archive is still open for places that failed.
    """
    is_planet = places is None and source != "published"
    _require_own(locals(), is_planet=is_planet)
    if is_planet:
        return _planet(
            out, num_locations, seed, num_seasons=num_seasons, size=size, modalities=modalities, json=json
        )  # fmt: skip
    from ssl4eo.collecting.collect import collect
    from ssl4eo.collecting.making import collected_source
    from ssl4eo.collecting.plan import make_plan
    from ssl4eo.collecting.seasons import PlaceWindows, season_rule
    from ssl4eo.collecting.services import ServiceOptions, open_service
    from ssl4eo.collection.remote.selection import Choice

    _require_begun(out, resume=resume)
    rule = season_rule(seasons, dates=dates, days=days, years=years, period=period, count=num_seasons)
    options = ServiceOptions(
        project=project, key_file=key_file, catalog=catalog, archive=archive, bands=bands, offset=offset, orbit=orbit,
        seed=seed, connections=max(threads, 1),
    )  # fmt: skip
    service = open_service(source, options)
    choice = Choice(order, max_cloud, max_patch_cloud, min_observed, tries)
    made = collected_source(
        service, _places(service, places), PlaceWindows(rule, seed), modalities, choice=choice, size=size,
        not_in=not_in,
    )  # fmt: skip
    if plan:
        _tell_plan(make_plan(made, threads=threads), service.name, json=json)
        return 0
    with progress_bar(f"collecting from {service.name}") as progress:
        report = collect(
            made, out, threads=threads, dask=dask, finish=finish, patience_s=3600 * patience_hours, progress=progress
        )
    _tell(report, json=json)
    return 0 if report.is_finished else UNFINISHED


def _require_begun(out: Path, *, resume: bool) -> None:
    from ssl4eo.collecting.collect import has_begun

    if resume and not has_begun(out) and not out.exists():
        raise DataMissing(f"nothing was begun for {out}", expected="an interrupted collection", path=str(out))


def _places(service: Service, places: Path | None) -> Path | Sequence[Place]:
    """Give the file of places, or those that a service has itself."""
    if places is not None:
        return places
    from ssl4eo.collecting.published import PublishedService

    assert isinstance(service, PublishedService)
    return service.places()


def _tell(report: CollectReport, *, json: bool) -> None:
    """Print what became of the places, and what to do where some have failed."""
    out, counts = report.path, report.totals.counts
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
    else:
        listed = ", ".join(f"{n:,} {status}" for status, n in counts.items() if n)
        Console(soft_wrap=True).print(f"{out}: {listed}", markup=False, highlight=False)
    if report.is_finished:
        return
    Console(stderr=True, soft_wrap=True).print(
        f"the archive is still open for {counts['failed']:,} places that failed "
        f"(ssl4eo ledger {out} --show failed): run the same command again, or with --finish to close it without them",
        markup=False,
        highlight=False,
    )


def _require_own(given: Mapping[str, Any], *, is_planet: bool) -> None:
    """Refuse options that would have no effect.

    Raises:
        ConfigInvalid: some are given.
    """
    if given["threads"] < 1 or given["patience_hours"] < 0:
        raise ConfigInvalid(
            f"{given['threads']} threads and a patience of {given['patience_hours']} hours", expected="1 and 0, or more"
        )
    if is_planet and given["source"] != "synthetic":
        raise ConfigInvalid(
            f"no places for {given['source']}", expected="--places", remedy="ssl4eo locations draw makes some"
        )
    usual = {name: parameter.default for name, parameter in signature(run).parameters.items()}
    changed = [name for name, value in given.items() if name in usual and value != usual[name]]
    foreign = [name for name in changed if (name not in _OF_PLANET if is_planet else name in _ONLY_OF_PLANET)]
    if foreign:
        words = " ".join(f"--{name.replace('_', '-')}" for name in foreign)
        raise ConfigInvalid(
            f"{words} {'without' if is_planet else 'with'} --places",
            expected="options of what is collected",
            remedy="give a table of places" if is_planet else f"leave out {words}",
        )


def _tell_plan(plan: Plan, service: str, *, json: bool) -> None:
    if json:
        sys.stdout.write(dumps(plan.to_json(), indent=2) + "\n")
        return
    images = ", ".join(f"{count:,} {name}" for name, count in plan.images.items())
    Console(soft_wrap=True).print(
        f"{plan.num_places:,} places ({plan.num_points:,} points) x {plan.num_seasons} seasons from {service}\n"
        f"images    {images}\n"
        f"requests  {plan.requests:,.0f}\n"
        f"traffic   {filesize.decimal(round(plan.num_bytes))}\n"
        f"archive   {filesize.decimal(round(plan.archive_bytes))}\n"
        f"time      {dt.timedelta(seconds=round(3600 * plan.hours))} (hours:minutes:seconds)\n"
        + "\n".join(f"assumed: {text}" for text in plan.assumptions),
        markup=False,
        highlight=False,
    )


def _planet(
    out: Path, num_locations: int, seed: int, *, num_seasons: int | None, size: int, modalities: tuple[str, ...],
    json: bool,
) -> int:  # fmt: skip
    from ssl4eo.collection.synthetic import SyntheticPlanet
    from ssl4eo.commands.pack import show
    from ssl4eo.packing.pack import pack

    seasons = 4 if num_seasons is None else num_seasons
    planet = SyntheticPlanet(num_locations, seed=seed, num_seasons=seasons, size=size, modalities=modalities)
    with progress_bar("collecting from the synthetic planet") as progress:
        report = pack(planet, out, errors="raise", progress=progress)
    show(report, json=json)
    return 0
