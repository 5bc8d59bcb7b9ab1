# SPDX-License-Identifier: Apache-2.0
"""Pictures as addresses inside the page, small enough that the page can be sent by mail.

Line drawings stay PNG. Figures that show pixels are large as PNG, and become WebP, coarser and then smaller ones until
the page keeps to its budget; the files in figures/ stay as they are.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from ssl4eo.report.style import DPI, Picture

BUDGET = 3_300_000
"""Bytes of all pictures; base64 makes 4.4 MB of them."""
LIGHT = 150_000
"""Bytes of a PNG that stays one."""
STEPS = ((90, 1.0), (80, 1.0), (65, 0.8), (50, 0.6), (40, 0.4))
"""Quality and scale of what does not, tried in this order."""


def inlined(pictures: Sequence[Picture]) -> dict[str, str]:
    """Give a data: address for each picture by its name."""
    found: dict[str, tuple[str, bytes]] = {}
    for quality, scale in STEPS:
        found = {p.name: _form(p.png, quality, scale) for p in pictures}
        if sum(len(content) for _, content in found.values()) <= BUDGET:
            break
    return {
        name: f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
        for name, (kind, content) in found.items()
    }


def size_of(png: bytes) -> tuple[int, int]:
    """Give width and height of a PNG as the page shows it: a hundred pixels for each inch of the figure."""
    with Image.open(io.BytesIO(png)) as opened:
        return round(opened.width * 100 / DPI), round(opened.height * 100 / DPI)


def _form(png: bytes, quality: int, scale: float) -> tuple[str, bytes]:
    """Give kind and bytes of a picture: as it is if it is light, or if nothing is gained."""
    if len(png) <= LIGHT:
        return "png", png
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    if scale != 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=4)
    content = stream.getvalue()
    return ("webp", content) if len(content) < len(png) else ("png", png)
