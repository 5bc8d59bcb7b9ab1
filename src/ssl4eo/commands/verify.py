# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo verify`: is an archive whole."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ssl4eo.archive.verify import Fault, verify_archive
from ssl4eo.progress import progress_bar


def run(path: Path, *, json: bool = False) -> int:
    """Hold every byte of an archive against its checksums.

    Args:
        path: of the archive
        json: print the report as JSON

    Returns:
        Exit status 0 if it is whole, 1 if something is damaged.
    """
    with progress_bar(f"verifying {path}") as progress:
        report = verify_archive(path, progress=progress)
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
        return 0 if report.is_whole else 1
    console = Console(soft_wrap=True)
    for fault in report.faults:
        console.print(escape(_line(fault)), highlight=False)
    verdict = "whole" if report.is_whole else f"DAMAGED, {len(report.faults)} faults"
    console.print(
        f"{escape(str(path))}: {verdict}; {report.num_files} files, {report.num_chunks} chunks, "
        f"{report.num_bytes} bytes checked",
        highlight=False,
    )
    if not report.is_whole:
        console.print("copy the damaged files again, or pack anew", highlight=False)
    return 0 if report.is_whole else 1


def _line(fault: Fault) -> str:
    line = f"{fault.file}: {fault.reason}"
    if fault.locations:
        listed = ", ".join(fault.locations[:5]) + (" ..." if len(fault.locations) > 5 else "")
        line += f" ({fault.modality}, {len(fault.locations)} locations: {listed})"
    return line
