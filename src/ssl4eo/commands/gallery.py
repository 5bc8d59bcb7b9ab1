# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo gallery`: an archive to look at in a browser."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from json import dumps
from pathlib import Path

from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.files import require_absent
from ssl4eo.gallery.likeness import LikenessFiles
from ssl4eo.gallery.server import LOOPBACK, Opening, is_loopback, listen, make_app, require_server, url_of
from ssl4eo.gallery.server import serve as serve_app
from ssl4eo.gallery.site import Offer, Site
from ssl4eo.gallery.trouble import words_of
from ssl4eo.gallery.write import SiteReport, write_site
from ssl4eo.pictures.composites import SINGLE, composites_of
from ssl4eo.pictures.stretches import STRETCHES
from ssl4eo.processes import check_workers
from ssl4eo.progress import progress_bar

log = logging.getLogger(__name__)

_MOST_EMBEDDINGS = 2
"""Networks that the pages show side by side."""


def run(  # noqa: PLR0913 - each is an option of the command line
    archive: Path,
    *,
    serve: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    out: Path | None = None,
    embeddings: list[Path] | None = None,
    composites: list[str] | None = None,
    stretches: list[str] | None = None,
    no_pixels: bool = False,
    workers: int = 1,
    json: bool = False,
) -> int:
    """Look at an archive in a browser: a map of its places, every place in all seasons and sensors.

    Args:
        archive: to show
        serve: answer a browser on this machine until Ctrl-C
        host: address to listen on; with any other than loopback everybody who reaches it sees the archive
        port: to listen on, 0 for any that is free
        out: folder of a static site to write, for any web host; run again after an interruption and it goes on
        embeddings: one or two files of `ssl4eo embed` of this archive: places like one, a map of likeness, outliers,
            and two networks side by side
        composites: of a static site, such as true-color swir band:B11; without it all of several bands
        stretches: of a static site, of shared, fixed and own; without it shared and fixed
        no_pixels: write a static site without GeoTIFF and NumPy files
        workers: processes that write a static site
        json: print the result of --out as JSON

    Returns:
        Exit status 0.
    """
    if serve == (out is not None):
        raise ConfigInvalid("--serve and --out" if serve else "neither --serve nor --out", expected="one of them")
    _check_embeddings(embeddings or [])
    if out is None:
        switches = {"--no_pixels": no_pixels, "--workers": workers != 1, "--json": json}
        _refuse_of_site({"--composites": bool(composites), "--stretches": bool(stretches), **switches})
        alike = _embeddings(archive, embeddings) if _can_be_read(archive) else _spelled(embeddings)
        return _serve(archive, host, port, alike)
    check_workers(workers)
    alike = _embeddings(archive, embeddings)
    require_absent(out, "site")
    opened = open_archive(archive)
    offer = Offer(_composites(opened, composites), _stretches(stretches), pixels=not no_pixels, embeddings=alike)
    with progress_bar(f"writing {out}") as progress:
        report = write_site(opened, out, offer=offer, workers=workers, progress=progress)
    _show(report, json=json)
    return 0


def _refuse_of_site(given: Mapping[str, bool]) -> None:
    names = " ".join(name for name, is_given in given.items() if is_given)
    if names:
        raise ConfigInvalid(f"{names} with --serve", expected="these with --out: a server shows everything")


def _check_embeddings(paths: list[Path]) -> None:
    if len(paths) > _MOST_EMBEDDINGS or len({path.resolve() for path in paths}) < len(paths):
        raise ConfigInvalid(
            f"--embeddings {' '.join(map(str, paths))}", expected="one or two different files", remedy="leave some out"
        )


def _can_be_read(archive: Path) -> bool:
    """Say whether embeddings can be compared with an archive; of one that cannot be read its page says why."""
    try:
        return bool(len(open_archive(archive).locations))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the page tells it
        return False


def _spelled(paths: list[Path] | None) -> tuple[str, ...]:
    return tuple(str(path.absolute()) for path in paths or ())


def _embeddings(archive: Path, paths: list[Path] | None) -> tuple[str, ...]:
    """Check embeddings and compute what needs all places at once, before anything is served or written."""
    if not paths:
        return ()
    alike = LikenessFiles(open_archive(archive), paths)
    with progress_bar("comparing places") as progress:
        alike.prepare(progress)
    return _spelled(paths)


def _serve(archive: Path, host: str, port: int, embeddings: tuple[str, ...]) -> int:
    if not archive.exists():
        open_archive(archive)  # says what is there instead
    require_server()
    bound = listen(host, port)
    opening = Opening(archive, lambda path: Site(open_archive(path), offer=Offer(embeddings=embeddings)))
    try:
        opening.site().warm()
    except Exception as error:  # noqa: BLE001 - a broken archive can break its readers in any way
        log.error("%s\nthe page tells the same until it is mended", words_of(error))  # noqa: TRY400 - a traceback says no more
    hosts = (*LOOPBACK, host.lower()) if is_loopback(host) else None
    if hosts is None:
        log.warning("listening on %s: everybody who reaches this machine there sees the archive", host)
    sys.stdout.write(f"{url_of(bound)}\n")
    sys.stdout.flush()
    try:
        serve_app(make_app(opening, hosts=hosts), bound)
    except KeyboardInterrupt:  # the usual end of a server
        log.info("stopped")
    return 0


def _composites(archive: Archive, names: list[str] | None) -> tuple[str, ...]:
    offered = dict.fromkeys(c for m in archive.modalities for c in composites_of(m, archive.form(m).bands))
    if names is None:
        return tuple(name for name in offered if not name.startswith(f"{SINGLE}:"))
    for name in names:
        if name not in offered:
            raise unknown_name("composite of this archive", name, offered)
    return tuple(dict.fromkeys(names))


def _stretches(names: list[str] | None) -> tuple[str, ...]:
    for name in names or ():
        if name not in STRETCHES:
            raise unknown_name("stretch", name, STRETCHES)
    return tuple(dict.fromkeys(names or ("shared", "fixed")))


def _show(report: SiteReport, *, json: bool) -> None:
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
        return
    earlier = f" ({report.num_found} were there already)" if report.num_found else ""
    sys.stdout.write(f"{report.path}: {report.num_written} locations written{earlier}\n")
    if report.wrong:
        sys.stdout.write(f"{len(report.wrong)} could not be shown whole, listed in record.json; the first:\n")
        for reason in list(report.wrong.values())[:5]:
            sys.stdout.write(f"  {reason}\n")
