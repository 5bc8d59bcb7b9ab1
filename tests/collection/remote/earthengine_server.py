# SPDX-License-Identifier: Apache-2.0
"""A stand-in of the REST API of Earth Engine on the loopback, for the real client library, with faults on demand.

It has what the client calls: discovery document and algorithm list (those that the library ships), token endpoint,
`value:compute`, `image:computePixels`. It refuses what the service refuses: tokens that expired, too many calls at a
time, grids and answers that are too large, unknown algorithms, arguments, assets and bands, malformed grids. No test
sleeps: a stalled answer waits for an event that the end of the test sets.
"""

from __future__ import annotations

import io
import json
import math
import re
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Self

import numpy as np
from earthengine_assets import Asset, Grid, assets_of
from earthengine_graph import Feature, Graph, Picture, Refused, algorithm_list
from ground_truth import Truth

MAX_BYTES = 48 << 20
MAX_SIDE = 32768
MAX_BANDS = 1024


@dataclass
class Fault:
    """What goes wrong with one call."""

    status: int | None = None
    """Answer with this status."""
    message: str = "a fault on demand"
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    """Reset the connection in place of an answer."""
    cut: int | None = None
    """Bytes of the body before the connection ends."""
    body: bytes | None = None
    """Another body, complete, with status 200."""
    stall: bool = False
    """Nothing comes until `release`."""


@dataclass
class Asked:
    """A call as it came."""

    kind: str
    """discovery, algorithms, token, value, pixels."""
    headers: dict[str, str]
    body: Any
    called: list[str] = field(default_factory=list)
    """Algorithms that were evaluated."""


class EarthEngineServer(ThreadingHTTPServer):
    """Assets by id, faults by kind of call; `asked` is the log."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, truths: Iterable[Truth] = (), *, project: str = "stand-in", most: int = 40) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.project = project
        self.most = most
        """Calls at a time before status 429."""
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.reset(truths)

    def reset(self, truths: Iterable[Truth] = ()) -> None:
        """Forget everything but the address and tokens."""
        self.assets: dict[str, Asset] = {}
        self.add(*truths)
        self.errors: list[str] = []
        """Tracebacks of the stand-in; a test that leaves some fails."""
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.tokens: set[str] = getattr(self, "tokens", set())
        self.num_tokens: int = getattr(self, "num_tokens", 0)
        self.active = 0
        self.most_active = 0
        self.most = 40
        self.release = threading.Event()
        self.barrier: threading.Barrier | None = None
        """Where reads wait for each other, so that a test knows how many are under way."""

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        """Address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, *truths: Truth) -> None:
        """Put scenes into all collections that show them."""
        for truth in truths:
            for asset in assets_of(truth):
                self.assets[asset.id] = asset

    def fail(self, kind: str, *faults: Fault) -> None:
        """Let the next calls of a kind go wrong."""
        self.faults.setdefault(kind, []).extend(faults)

    def expire(self) -> None:
        """Let all tokens expire before their time."""
        self.tokens.clear()

    def count(self, kind: str) -> int:
        """Say how often a kind of call came."""
        return sum(asked.kind == kind for asked in self.asked)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what is wrong with the stand-in itself; clients that go away are what is tested here."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            self.errors.append("".join(traceback.format_exception(error)))


_PATHS = (
    ("discovery", re.compile(r"GET /\$discovery/rest")),
    ("algorithms", re.compile(r"GET /v1/projects/(?P<project>[^/]+)/algorithms")),
    ("token", re.compile(r"POST /token")),
    ("value", re.compile(r"POST /v1/projects/(?P<project>[^/]+)/value:compute")),
    ("pixels", re.compile(r"POST /v1/projects/(?P<project>[^/]+)/image:computePixels")),
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: EarthEngineServer

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, project = self._kind()
        server = self.server
        asked = Asked(kind, {k.lower(): v for k, v in self.headers.items()}, sent)
        with server.lock:
            server.asked.append(asked)
            due = server.faults.get(kind)
            fault = due.pop(0) if due else Fault()
            server.active += 1
            server.most_active = max(server.most_active, server.active)
            crowded = kind in ("value", "pixels") and server.active > server.most
        try:
            self._send(*self._result(kind, project, asked, fault, crowded=crowded), fault)
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True
        finally:
            with server.lock:
                server.active -= 1

    def _kind(self) -> tuple[str, str]:
        for kind, pattern in _PATHS:
            match = pattern.match(f"{self.command} {self.path}")
            if match:
                return kind, match.groupdict().get("project", "")
        return "unknown", ""

    def _result(
        self, kind: str, project: str, asked: Asked, fault: Fault, *, crowded: bool
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            if fault.stall:
                self.server.release.wait()
            if fault.status is not None:
                raise Refused(fault.status, fault.message)
            if fault.body is not None:
                return 200, {}, fault.body
            if crowded:
                raise Refused(429, "Too Many Requests: Request was rejected because the request rate or concurrency "
                              "limit was exceeded.")  # fmt: skip
            return 200, {}, self._work(kind, project, asked)
        except Refused as refused:
            error = {"code": refused.status, "message": str(refused), "status": "REFUSED"}
            return refused.status, fault.headers, json.dumps({"error": error}).encode()

    def _work(self, kind: str, project: str, asked: Asked) -> bytes:
        if kind == "token":
            return self._token()
        if kind == "unknown":
            raise Refused(404, f"no method {self.command} {self.path}")
        self._require_token(project)
        if kind == "discovery":
            text = resources.files("ee").joinpath("tests/cloud_api_discovery_document.json").read_text()
            return text.replace("v1alpha", "v1").encode()
        if kind == "algorithms":
            return json.dumps(algorithm_list()).encode()
        asked.body = json.loads(asked.body)
        graph = Graph(dict(self.server.assets))
        if kind == "pixels" and self.server.barrier is not None:
            self.server.barrier.wait(timeout=20)
        value = graph.evaluate(asked.body["expression"])
        asked.called = graph.called
        return _collection(value) if kind == "value" else _pixels(value, asked.body)

    def _token(self) -> bytes:
        with self.server.lock:
            self.server.num_tokens += 1
            token = f"token-{self.server.num_tokens}"
            self.server.tokens.add(token)
        return json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode()

    def _require_token(self, project: str) -> None:
        sent = self.headers.get("Authorization", "")
        if sent.removeprefix("Bearer ") not in self.server.tokens:
            raise Refused(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.")
        if project and project != self.server.project:
            raise Refused(403, f"Caller does not have required permission to use project {project}.")

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: fault.cut])
        if fault.cut is not None:
            self.close_connection = True


def _collection(value: Any) -> bytes:
    if not isinstance(value, list) or not all(isinstance(v, Feature) for v in value):
        raise Refused(501, "the stand-in gives feature collections only")
    if len(value) > 5000:
        raise Refused(400, "Collection query aborted after accumulating over 5000 elements.")
    features = [
        {"type": "Feature", "id": str(i), "geometry": None, "properties": v.properties} for i, v in enumerate(value)
    ]
    return json.dumps({"result": {"type": "FeatureCollection", "columns": {}, "features": features}}).encode()


def _pixels(picture: Any, body: dict[str, Any]) -> bytes:
    if not isinstance(picture, Picture) or body.get("fileFormat") != "NPY":
        raise Refused(400, "the stand-in gives images as NPY only")
    (width, height), affine, crs = _grid(body["grid"])
    names = body.get("bandIds") or list(picture.bands)
    for name in names:
        if name not in picture.bands:
            raise Refused(400, f"Image has no band named '{name}'.")
    if width > MAX_SIDE or height > MAX_SIDE or len(names) > MAX_BANDS:
        raise Refused(400, f"Pixel grid dimensions ({width}x{height}) must be less than or equal to {MAX_SIDE}.")
    one = _centers(crs, affine, 1, 1)
    total = sum((picture.bands[n](one)[0].dtype.itemsize + 1) * width * height for n in names)
    if total > MAX_BYTES:
        raise Refused(400, f"Total request size ({total} bytes) must be less than or equal to {MAX_BYTES} bytes.")
    whole = _centers(crs, affine, width, height)  # one object: planes are kept by its identity
    planes = {name: picture.bands[name](whole) for name in names}
    array = np.zeros((height, width), [(name, values.dtype) for name, (values, _) in planes.items()])
    for name, (values, mask) in planes.items():
        array[name] = np.where(mask, values, 0)  # "Masked or missing data will be encoded as zeroes."
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _grid(grid: dict[str, Any]) -> tuple[tuple[int, int], tuple[float, ...], str]:
    """Give width and height [px], the affine (a, b, c, d, e, f), the reference system."""
    try:
        size, affine, crs = grid["dimensions"], grid["affineTransform"], grid["crsCode"]
        width, height = int(size["width"]), int(size["height"])
        a, b, c, d, e, f = (
            float(affine[k]) for k in ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(400, f"Invalid value at 'grid' ({error})") from None
    if width < 1 or height < 1 or not a * e - b * d or not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise Refused(400, "Invalid affine transform: it cannot be inverted.")
    if not re.fullmatch(r"EPSG:\d{4,5}", crs):
        raise Refused(400, f"The CRS of a map projection could not be parsed. Unable to parse '{crs}'.")
    return (width, height), (a, b, c, d, e, f), crs


def _centers(crs: str, affine: tuple[float, ...], width: int, height: int) -> Grid:
    a, b, c, d, e, f = affine
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return crs, a * x + b * y + c, d * x + e * y + f
