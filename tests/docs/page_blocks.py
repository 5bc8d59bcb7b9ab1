# SPDX-License-Identifier: Apache-2.0
"""Blocks of code of a page, in order, and whether printed lines are of the form that a page shows: helper of the tests.

A block is fenced; `bash` is run by bash, `python` by Python. `text` with the title `output` is what the blocks since
the last such one print on stdout: its lines must come in that order among the printed ones, any number for a number.
A block whose line before says `Not run:` and a reason is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<before>[^\n]*)\n(?:\n)?^```(?P<kind>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
OUTPUT = 'text title="output"'


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    kind: str
    code: str
    line: int
    not_run: str
    """The reason why it is not run; empty: it is."""


def blocks(page: Path) -> Iterator[Block]:
    """Give the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        reason = match["before"].partition("Not run:")[2].strip(" *_")
        yield Block(match["kind"].strip(), match["code"], line, reason)


def shape(line: str) -> str:
    """Give a line with # for every number and one space for every gap.

    >>> shape("loss  2.995, 1,024 px")
    'loss #, # px'
    """
    return " ".join(_NUMBER.sub("#", line).split())


def missing(shown: str, printed: str) -> str:
    """Give the first line that is shown and was not printed in its turn; empty if all were."""
    rest = iter([shape(line) for line in printed.splitlines()])
    for line in filter(None, map(shape, shown.splitlines())):
        if not any(line in other for other in rest):
            return line
    return ""
