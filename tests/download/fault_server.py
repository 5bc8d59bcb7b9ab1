# SPDX-License-Identifier: Apache-2.0
"""A web server on the loopback that misbehaves on purpose, one fault a request, and remembers what it was asked.

No test sleeps: a stalled answer waits for an event that the test (or the end of the test) sets.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Fault:
    """What goes wrong in one answer."""

    status: int | None = None
    """Answer with this status and no file."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent besides; with None as status beside the file."""
    cut: int | None = None
    """Body bytes before the connection is closed."""
    stall: int | None = None
    """Body bytes before nothing comes any more."""
    flip: int | None = None
    """Position in the file whose byte is wrong."""
    claim: int | None = None
    """Length that the server pretends."""
    shift: int = 0
    """How far the answered range is from the one that was asked for."""
    swap: tuple[bytes, str | None] | None = None
    """File and ETag that stand there from this request on."""
    head: bool = False
    """Whether it is for a HEAD request; those leave the faults of GET alone."""
    blind: bool = False
    """Answer the range whatever If-Range says."""


@dataclass
class Served:
    """A file of the server."""

    data: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    """Whether Range is understood."""
    length: str = "told"
    """told, chunked, or none: the end of the connection is the end of the file."""
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        """Give the Range header."""
        return self.headers.get("range")


class FaultServer(ThreadingHTTPServer):
    """Files by path, with faults; `asked` is the log."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []
        self.release = threading.Event()
        """Lets stalled answers go on."""
        self.answered: Any = lambda: None
        """Called when the bytes of an answer, or those before a stall, are sent."""
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

    def add(self, path: str, data: bytes, *faults: Fault, **how: Any) -> str:
        """Serve a file; give its address."""
        self.files[path] = Served(data, faults=list(faults), **how)
        return self.url(path)

    def url(self, path: str) -> str:
        """Give the address of a path."""
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def ranges(self, path: str) -> list[str | None]:
        """Give the Range headers that were sent for a path, in order."""
        return [asked.range for asked in self.asked if asked.path == path and asked.method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.server.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        served = self.server.files.get(self.path)
        if served is None:
            self._status(404, {})
            return
        due = bool(served.faults) and served.faults[0].head is (not body)
        fault = served.faults.pop(0) if due else Fault()
        if fault.swap is not None:
            served.data, served.etag = fault.swap
        if fault.status is not None:
            self._status(fault.status, fault.headers)
            return
        start = self._start(served, fault)
        size = len(served.data) if fault.claim is None else fault.claim
        if start is not None and start >= len(served.data):
            self._status(416, {"Content-Range": f"bytes */{len(served.data)}"})
            return
        self._headers(served, fault, start, size)
        if body:
            self._body(served, fault, 0 if start is None else start + fault.shift)

    def _start(self, served: Served, fault: Fault) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if not asked or not served.ranges:
            return None
        if condition and condition not in (served.etag, served.modified) and not fault.blind:
            return None
        return int(asked[1])

    def _status(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.answered()

    def _headers(self, served: Served, fault: Fault, start: int | None, size: int) -> None:
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start + fault.shift}-{size - 1}/{size}")
        if served.length == "told":
            self.send_header("Content-Length", str(size - (0 if start is None else start + fault.shift)))
        elif served.length == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        given = {"ETag": served.etag, "Last-Modified": served.modified, **served.headers, **fault.headers}
        for name, value in given.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, served: Served, fault: Fault, start: int) -> None:
        data = bytearray(served.data)
        if fault.flip is not None:
            data[fault.flip] ^= 0xFF
        body = bytes(data[start:])
        end = min([n for n in (fault.cut, fault.stall) if n is not None], default=len(body))
        try:
            self._send(body[:end], chunked=served.length == "chunked")
            self.server.answered()
            if fault.stall is not None:
                self.server.release.wait()
            if end < len(body) or fault.claim is not None:
                self.close_connection = True
            elif served.length == "chunked":
                self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.close_connection = True

    def _send(self, body: bytes, *, chunked: bool) -> None:
        if chunked and body:
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        else:
            self.wfile.write(body)
        self.wfile.flush()
