# SPDX-License-Identifier: Apache-2.0
"""Collects a small stage slowly, to be killed: python collect_and_be_killed.py TARGET COUNT."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from collecting_stage import stage

from ssl4eo.collecting.collect import collect
from ssl4eo.collection.remote.synthetic import SyntheticService


class Slow(SyntheticService):
    """A read takes a moment, so that kills meet places under way."""

    def read(self, scenes, product, grid):
        """Wait, then read."""
        time.sleep(0.01)
        return super().read(scenes, product, grid)


def say(what: object) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    source = stage(int(sys.argv[2]), service=Slow())
    say("begun")
    report = collect(source, Path(sys.argv[1]), threads=3, progress=lambda done, _: say(done))
    say(dict(report.totals.counts))
