# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo demo`: the whole way on a synthetic planet."""

from __future__ import annotations

import sys
from pathlib import Path


def run(*, out: Path, num_locations: int = 480, epochs: int = 32, num_seeds: int = 2) -> int:
    """Make a synthetic planet, pre-train on it, judge the networks on held-out locations, write a report.

    Run again after an interruption and it goes on; run again when it is done and it only writes the report.

    Args:
        out: folder of the demo; the report is OUT/report/report.html
        num_locations: locations of the planet, 128 or more; a third is held out for the test
        epochs: passes over the training locations
        num_seeds: networks that are pre-trained, and as many that are left untrained

    Returns:
        Exit status 0.
    """
    from ssl4eo.demo import DemoConfig, demo
    from ssl4eo.memory import keep_freed_memory

    keep_freed_memory()
    config = DemoConfig(num_locations=num_locations, epochs=epochs, seeds=tuple(range(num_seeds)))
    result = demo(out, config, say=lambda text: print(text, file=sys.stderr))  # noqa: T201 - the command line
    print(f"{result.report}  ({result.seconds:.0f} s)")  # noqa: T201 - the result
    return 0
