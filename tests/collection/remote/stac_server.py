# SPDX-License-Identifier: Apache-2.0
"""A STAC API and a store of rasters on the loopback, with faults on purpose; it remembers what it was asked.

One server stands in for a whole host: `/v1` is the API (landing page, collections, search by POST and GET with paging),
`/token/<collection>` gives signatures, every other path is a file that answers to ranges. What it refuses, the real
hosts refuse: a missing or expired signature (403), S3 requests without credentials or payer (403), a range past the end
(416), items outside of the asked time, place, collection or filter. No test sleeps for it: waits are recorded.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from shapely.geometry import shape

CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
]


@dataclass
class Fault:
    """What goes wrong in the answers to some requests."""

    match: str
    """Regular expression on method, path and Range header, joined by spaces."""
    times: int = 1
    """Answers that it spoils."""
    status: int | None = None
    """Answer with this status and no file."""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Body bytes before the connection is closed."""
    stall: int | None = None
    """Body bytes before nothing comes any more, until the server is released."""
    reset: bool = False
    """Close the connection by a TCP reset before an answer."""
    body: bytes | None = None
    """Answer 200 with this in place of what there is."""


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]
    status: int = 0
    num_bytes: int = 0

    @property
    def range(self) -> str:
        """Give the Range header, empty where there is none."""
        return self.headers.get("range", "")


class StacServer(ThreadingHTTPServer):
    """Collections, items and files, with faults; `asked` is the log."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.items: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.page_size = 100
        """Most items of a page, whatever the client asks for."""
        self.latency = 0.0
        """Before each answer [s]."""
        self.signed = ""
        """Prefix of paths that need a signature; empty: none do."""
        self.s3 = ""
        """Prefix of paths that need AWS credentials."""
        self.payer = False
        """Whether requests to S3 must accept to pay."""
        self.tokens: dict[str, dt.datetime] = {}
        """Given out, with the time until which they hold."""
        self.token_life = dt.timedelta(minutes=45)
        self.now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
        self.release = threading.Event()
        """Lets stalled answers end."""
        self.under_way = 0
        self.most_under_way = 0
        self.lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested here."""

    @property
    def root(self) -> str:
        """Give the address of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def api(self) -> str:
        """Give the address of the API."""
        return f"{self.root}/v1"

    def fail(self, match: str, **how: Any) -> Fault:
        """Add a fault."""
        fault = Fault(match, **how)
        self.faults.append(fault)
        return fault

    def paths(self, pattern: str) -> list[Asked]:
        """Give the requests whose path matches, in order."""
        return [asked for asked in self.asked if re.search(pattern, asked.path)]

    def expire(self) -> None:
        """Make all signatures that were given out invalid."""
        self.tokens = {token: self.now() - dt.timedelta(seconds=1) for token in self.tokens}

    def new_token(self) -> tuple[str, dt.datetime]:
        """Give out a signature."""
        with self.lock:
            token = f"sv=1&sig={len(self.tokens):06d}%3D"
            self.tokens[token] = self.now() + self.token_life
            return token, self.tokens[token]

    def take_fault(self, line: str) -> Fault | None:
        """Give the first fault for a request, and count it."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, line):
                    fault.times -= 1
                    return fault
        return None

    def find(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """List the items that a search body asks for."""
        return [item for item in self.items if _fits(item, wanted)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StacServer
    _cut: int | None = None
    _stall: int | None = None

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = self.server
        parts = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, urllib.parse.unquote(parts.path), parts.query, headers, body)
        with server.lock:
            server.asked.append(asked)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            if server.latency:
                time.sleep(server.latency)
            self._spoil_or_serve(asked)
        finally:
            with server.lock:
                server.under_way -= 1

    def _spoil_or_serve(self, asked: Asked) -> None:
        fault = self.server.take_fault(f"{asked.method} {asked.path} {asked.range}")
        self._stall = None if fault is None else fault.stall
        if fault is not None and fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault is not None and fault.status is not None:
            self._send(asked, fault.status, b"", fault.headers)
        elif fault is not None and fault.body is not None:
            self._send(asked, 200, fault.body, fault.headers)
        elif asked.path.startswith("/v1"):
            self._serve_api(asked, fault)
        elif asked.path.startswith("/token/"):
            self._cut = None if fault is None else fault.cut
            token, expiry = self.server.new_token()
            self._send_json(asked, {"token": token, "msft:expiry": f"{expiry:%Y-%m-%dT%H:%M:%SZ}"})
        else:
            self._serve_file(asked, fault)

    def _serve_api(self, asked: Asked, fault: Fault | None) -> None:
        self._cut = None if fault is None else fault.cut
        root = self.server.api
        links = [{"rel": "self", "href": root}, {"rel": "root", "href": root}]
        names = sorted({item["collection"] for item in self.server.items})
        if asked.path in ("/v1", "/v1/"):
            searches = [
                {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": method}
                for method in ("GET", "POST")
            ]
            data = {"rel": "data", "href": f"{root}/collections"}
            page = {"type": "Catalog", "id": "stand-in", "description": "synthetic", "stac_version": "1.0.0"}
            self._send_json(asked, {**page, "conformsTo": CONFORMANCE, "links": [*links, *searches, data]})
        elif asked.path == "/v1/collections":
            self._send_json(asked, {"collections": [_collection(name, root) for name in names], "links": links})
        elif asked.path == "/v1/search":
            self._serve_search(asked)
        else:
            self._send(asked, 404, b"{}", {})

    def _serve_search(self, asked: Asked) -> None:
        wanted = asked.body if asked.method == "POST" else _body_of(asked.query)
        first = int(wanted.get("token", 0))
        limit = min(int(wanted.get("limit", 10)), self.server.page_size)
        found = self.server.find(wanted)
        links: list[dict[str, Any]] = []
        if first + limit < len(found):
            href = f"{self.server.api}/search"
            if asked.method == "POST":
                links.append(
                    {"rel": "next", "href": href, "method": "POST", "body": {**wanted, "token": str(first + limit)}}
                )
            else:
                fields = dict(urllib.parse.parse_qsl(asked.query)) | {"token": str(first + limit)}
                links.append({"rel": "next", "href": f"{href}?{urllib.parse.urlencode(fields)}", "method": "GET"})
        page = {"type": "FeatureCollection", "features": found[first : first + limit], "links": links}
        self._send_json(asked, page)

    def _serve_file(self, asked: Asked, fault: Fault | None) -> None:
        server = self.server
        if server.signed and asked.path.startswith(server.signed):
            valid = server.tokens.get(asked.query)
            if valid is None or valid <= server.now():
                self._send(asked, 403, b"<Code>AuthenticationFailed</Code>", {})
                return
        if server.s3 and asked.path.startswith(server.s3):
            known = asked.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential=KEY/")
            if not known or (server.payer and asked.headers.get("x-amz-request-payer") != "requester"):
                self._send(asked, 403, b"<Error><Code>AccessDenied</Code></Error>", {})
                return
        data = server.files.get(asked.path)
        if data is None:
            self._send(asked, 404, b"<Error><Code>NoSuchKey</Code></Error>", {})
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.range)
        if match is None:
            self._send(asked, 200, data, {}, cut=None if fault is None else fault.cut)
            return
        first = int(match[1])
        last = min(int(match[2] or len(data) - 1), len(data) - 1)
        if first >= len(data):
            self._send(asked, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        told = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._send(asked, 206, data[first : last + 1], told, cut=None if fault is None else fault.cut)

    def _send_json(self, asked: Asked, page: object) -> None:
        told = {"Content-Type": "application/geo+json"}
        self._send(asked, 200, json.dumps(page).encode(), told, cut=self._cut)

    def _send(
        self, asked: Asked, status: int, data: bytes, headers: Mapping[str, str], *, cut: int | None = None
    ) -> None:
        asked.status, asked.num_bytes = status, len(data)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self._stall is not None:
            self.wfile.write(data[: self._stall])
            self.wfile.flush()
            self.server.release.wait(60)
            self.close_connection = True
        elif asked.method != "HEAD":
            self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


def _collection(name: str, root: str) -> dict[str, Any]:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}}
    links = [{"rel": "root", "href": root}]
    head = {"type": "Collection", "id": name, "stac_version": "1.0.0", "description": "synthetic", "license": "other"}
    return {**head, "extent": extent, "links": links}


def _body_of(query: str) -> dict[str, Any]:
    fields: dict[str, Any] = dict(urllib.parse.parse_qsl(query))
    for name in ("intersects", "query", "filter"):
        if name in fields:
            fields[name] = json.loads(fields[name])
    if "collections" in fields:
        fields["collections"] = fields["collections"].split(",")
    return fields


def _fits(item: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if wanted.get("collections") and item["collection"] not in wanted["collections"]:
        return False
    if "intersects" in wanted and not shape(item["geometry"]).intersects(shape(wanted["intersects"])):
        return False
    if "datetime" in wanted:
        start, end = (_time(text) for text in wanted["datetime"].split("/"))
        if not start <= _time(item["properties"]["datetime"]) <= end:
            return False
    if not all(_holds(item["properties"], name, tests) for name, tests in wanted.get("query", {}).items()):
        return False
    return "filter" not in wanted or _cql2(item, wanted["filter"])


def _holds(properties: Mapping[str, Any], name: str, tests: Mapping[str, Any]) -> bool:
    value = properties.get(name)
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda a, b: a == b,
        "in": lambda a, b: a in b,
        "lt": lambda a, b: a is not None and a < b,
    }
    return all(compare[test](value, limit) for test, limit in tests.items())


def _cql2(item: Mapping[str, Any], expression: Mapping[str, Any]) -> bool:
    op, args = expression["op"], expression["args"]
    if op == "and":
        return all(_cql2(item, arg) for arg in args)
    name = {"=": "eq", "in": "in", "<": "lt"}[op]
    return _holds(item["properties"], args[0]["property"], {name: args[1]})


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
