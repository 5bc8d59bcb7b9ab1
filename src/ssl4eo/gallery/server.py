# SPDX-License-Identifier: Apache-2.0
"""The gallery over HTTP: Starlette and uvicorn, on loopback unless told otherwise.

Reads only. On loopback a request must name this machine as its host, so that no foreign page can reach the gallery
through a name that it makes point here (DNS rebinding).
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.gallery.assets import HEADERS, assets, media_type
from ssl4eo.gallery.site import Resource, Site
from ssl4eo.gallery.trouble import trouble_page, without_folders, words_of

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches a host.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(header: str) -> str:
    """Give the name in a Host header, without its port.

    >>> host_of("127.0.0.1:8000"), host_of("[::1]:8000"), host_of("evil.example")
    ('127.0.0.1', '::1', 'evil.example')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


class Opening:
    """Opens a site when it is first asked for, and again after a failure: an archive that was mended is shown."""

    def __init__(self, path: Path, make: Callable[[Path], Site] | None = None) -> None:
        self._path = path
        self._make = make or (lambda path: Site(open_archive(path)))
        self._site: Site | None = None

    @property
    def folder(self) -> Path:
        """Where the archive lies."""
        return self._path.absolute().parent

    def site(self) -> Site:
        """Give the site.

        Raises:
            Exception: of any kind, the archive cannot be read.
        """
        if self._site is None:
            self._site = self._make(self._path)
        return self._site


def make_app(opening: Opening, *, hosts: tuple[str, ...] | None = LOOPBACK) -> Starlette:
    """Make the application.

    Args:
        opening: gives the site.
        hosts: names that a request may ask for; None for any.
    """
    from starlette.applications import Starlette
    from starlette.routing import Route

    def endpoint(request: Request) -> Response:
        return _answer(opening, hosts, request)

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET"])])


def _answer(opening: Opening, hosts: tuple[str, ...] | None, request: Request) -> Response:
    """Answer one request; runs in a thread."""
    if hosts is not None and host_of(request.headers.get("host", "")) not in hosts:
        return _response(403, b"this gallery answers only to the names of this machine\n", "text/plain")
    path = request.scope["path"].removeprefix("/") or "index.html"

    def told(error: Exception) -> str:  # who reaches this from elsewhere learns no folder of this machine
        words = words_of(error)
        return words if hosts is not None else without_folders(words, opening.folder)

    try:
        site = opening.site()
    except Exception as error:  # noqa: BLE001 - a broken archive can break its readers in any way
        log.warning("%s", words_of(error))
        return _closed(request, path, told(error))
    try:
        return _kept(request, site.resource(path))
    except DataMissing as error:
        return _wrong(404, told(error))
    except Exception as error:  # noqa: BLE001 - the same
        log.warning("%s: %s", path, words_of(error))
        return _wrong(500, told(error))


def _closed(request: Request, path: str, told: str) -> Response:
    """Answer while the archive cannot be opened: with a page that says why, and its style."""
    if path == "index.html":
        return _response(503, trouble_page(told), "text/html; charset=utf-8")
    if path in assets():
        return _kept(request, Resource(assets()[path].read_bytes(), media_type(path)))
    return _wrong(503, told)


def _kept(request: Request, resource: Resource) -> Response:
    """Answer with a resource, or say that the browser's copy is still right."""
    tag = f'"{hashlib.sha256(resource.content).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == tag:
        return _response(304, b"", resource.media_type, ETag=tag)
    return _response(200, resource.content, resource.media_type, ETag=tag)


def _wrong(status: int, told: str) -> Response:
    return _response(status, json.dumps({"wrong": told}).encode(), "application/json")


def _response(status: int, content: bytes, media_type: str, **headers: str) -> Response:
    from starlette.responses import Response

    return Response(content, status, headers={**HEADERS, **headers}, media_type=media_type)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket, so that a port that is taken is told before anything is read.

    Raises:
        ConfigInvalid: the address cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ConfigInvalid(
            f"cannot listen on {host} port {port} ({error})",
            expected="an address of this machine and a free port",
            remedy="choose another --port, 0 for any that is free" if taken else "choose another --host or --port",
        ) from error


def url_of(bound: socket.socket) -> str:
    """Give the address that a browser opens."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def require_server() -> None:
    """Raise unless the server's libraries are there.

    Raises:
        DataMissing: they are not installed.
    """
    try:
        import starlette
        import uvicorn

        del starlette, uvicorn
    except ImportError as error:
        raise DataMissing(
            f"{error.name} is not installed",
            expected="the libraries of the gallery's server",
            remedy="pip install 'ssl4eo[gallery]', or write a static site with --out",
        ) from error


def serve(app: Any, bound: socket.socket) -> None:
    """Answer requests until a signal ends it."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off")
    uvicorn.Server(config).run(sockets=[bound])
