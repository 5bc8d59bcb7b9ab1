# SPDX-License-Identifier: Apache-2.0
"""What is told of trouble: words for those who must not learn where files lie, and the page in place of a gallery."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from ssl4eo.errors import Ssl4eoError

_FOLDERS = re.compile(r"""(?<![\w:/.~-])/(?:[^\s/'"`;:,()]+/)+""")
"""Folders of an absolute path up to its last name; addresses and shares such as 3/4 have no such beginning."""


def without_folders(text: object, *folders: Path) -> str:
    """Take the folders of this machine out of an error's words: a site may be public, a server open to others.

    Args:
        text: to tell.
        folders: that are known, and may have blanks in their names; of other absolute paths the last name is kept.

    >>> without_folders("/srv/a.zarr/S2L2A/c.0 is cut: run `ssl4eo verify /srv/a.zarr`", Path("/srv"))
    'a.zarr/S2L2A/c.0 is cut: run `ssl4eo verify a.zarr`'
    """
    told = str(text)
    for folder in folders:
        told = told.replace(f"{folder}/", "")
    return _FOLDERS.sub("", told)


def words_of(error: Exception) -> str:
    """Give an error's words on one line; of one that nobody meant to raise also its type, which may say more.

    >>> words_of(KeyError("id")), words_of(OSError("disk full"))
    ("KeyError: 'id'", 'disk full')
    """
    words = " ".join(str(error).split())
    return words if isinstance(error, (Ssl4eoError, OSError)) else f"{type(error).__name__}: {words}"


def trouble_page(message: str) -> bytes:
    """Make the page: what was found, what was expected, what to do; light and dark as the gallery where it may be."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<title>This archive cannot be shown</title>"
        '<link rel="icon" href="app/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="app/style.css">'
        '<script src="app/theme.js"></script></head><body>'
        '<main><article class="prose"><h1>This archive cannot be shown</h1>'
        f'<p class="wrong" role="alert">{escape(message)}</p>'
        "<p>Mend that and load this page again; <code>ssl4eo verify</code> tells all that is damaged.</p>"
        "</article></main></body></html>\n"
    ).encode()
