# SPDX-License-Identifier: Apache-2.0
"""Names of files from names of runs and tasks."""

from __future__ import annotations

import re


def file_stem(text: str, taken: set[str]) -> str:
    """Make a file name of letters, digits, dots and dashes that no other picture has.

    >>> taken = set()
    >>> file_stem("a b", taken), file_stem("a/b", taken)
    ('a-b', 'a-b-2')
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
