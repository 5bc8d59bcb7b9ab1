# SPDX-License-Identifier: Apache-2.0
"""Doctests of docstrings, shown as code: Griffe takes them for text unless they stand in a section of their own."""

from __future__ import annotations

from typing import Any

import griffe


def fenced(text: str) -> str:
    r"""Put a fence around each run of lines that begins with a prompt, up to the next empty line.

    >>> fenced("Add.\n\n>>> 1 + 1\n2").splitlines()
    ['Add.', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    lines: list[str] = []
    inside = False
    for line in [*text.splitlines(), ""]:
        if not inside and line.startswith(">>> "):
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines).rstrip("\n")


class Doctests(griffe.Extension):
    """Fences the doctests of every object."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring that Griffe keeps."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
