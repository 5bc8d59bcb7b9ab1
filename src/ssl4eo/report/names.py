# SPDX-License-Identifier: Apache-2.0
"""Names of runs that are told apart, and names of files from names of runs and tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


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


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Name folders, each with as many of its parents as it takes to tell it from the others.

    Args:
        paths: absolute, each once.

    >>> told_apart([Path("/x/a/run"), Path("/x/b/run"), Path("/x/seed-0")])
    ['a/run', 'b/run', 'seed-0']
    """
    depths = [1] * len(paths)
    while True:
        names = ["/".join(path.parts[-depth:]) for path, depth in zip(paths, depths, strict=True)]
        alike = [names.count(name) > 1 for name in names]
        if not any(alike):
            return names
        depths = [depth + again for depth, again in zip(depths, alike, strict=True)]
