# SPDX-License-Identifier: Apache-2.0
"""Embed an archive and be killed before the n-th part gets its name; a process of test_embed.py."""

from __future__ import annotations

import os
from pathlib import Path

from ssl4eo.embedding import embed as embed_module
from ssl4eo.embedding import plan, work
from ssl4eo.embedding.embed import embed_archive


def main(archive: Path, out: Path, kill_at: int, number: int) -> None:
    """Embed with parts of four images; `number` is the signal."""
    plan.PART_IMAGES = 4
    embed_module.commit = lambda: None
    real, seen = work.whole_or_told, [0]

    def counting(path: Path):
        seen[0] += 1
        if seen[0] == kill_at:
            os.kill(os.getpid(), number)
        return real(path)

    work.whole_or_told = counting
    embed_archive("random.resnet18.s2l1c", archive, out, image_size=32, workers=1)
