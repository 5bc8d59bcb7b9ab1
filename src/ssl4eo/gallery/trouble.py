# SPDX-License-Identifier: Apache-2.0
"""The page in place of a gallery that cannot be shown: what was found, what was expected, what to do."""

from __future__ import annotations

from html import escape


def trouble_page(message: str) -> bytes:
    """Make the page; needs no script and no other file but the style."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>This archive cannot be shown</title></head><body>"
        f'<main><h1>This archive cannot be shown</h1><p role="alert">{escape(message)}</p>'
        "<p>Mend that and load this page again; <code>ssl4eo verify</code> tells all that is damaged.</p>"
        "</main></body></html>\n"
    ).encode()
