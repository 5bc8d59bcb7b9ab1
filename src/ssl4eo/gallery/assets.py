# SPDX-License-Identifier: Apache-2.0
"""The front end's own files, and how a browser is told to treat them.

Only files of this table are ever served: no path of a request reaches the file system.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ssl4eo.errors import DataMissing

FOLDER = Path(__file__).with_name("app")

MEDIA: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".webp": "image/webp",
        ".bin": "application/octet-stream",
        ".tif": "image/tiff",
        ".npz": "application/octet-stream",
        ".md": "text/plain; charset=utf-8",
        "": "text/plain; charset=utf-8",
    }
)
"""Media types by the end of the name."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy: nothing foreign, nothing inline. The page itself carries it too, for static sites."""

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
)
"""Of every answer of the server."""


def media_type(path: str) -> str:
    """Give the media type of a path."""
    return MEDIA[Path(path).suffix]


@cache
def assets() -> Mapping[str, Path]:
    """Give the files of the front end by their path in the site.

    Raises:
        DataMissing: the installation lacks them.
    """
    files = {file.relative_to(FOLDER).as_posix(): file for file in sorted(FOLDER.rglob("*")) if file.is_file()}
    if "index.html" not in files:
        raise DataMissing(f"no index.html in {FOLDER}", expected="the front end", remedy="install ssl4eo again")
    return MappingProxyType({path if path == "index.html" else f"app/{path}": file for path, file in files.items()})
