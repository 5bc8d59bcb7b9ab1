# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo verify`: is an archive whole."""

from __future__ import annotations

import logging
import sys
from json import dumps
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ssl4eo.archive.verify import Fault, VerifyReport, verify_archive
from ssl4eo.errors import ConfigInvalid
from ssl4eo.files import require_writable, whole_or_told
from ssl4eo.progress import progress_bar

log = logging.getLogger(__name__)

LINES = 20
"""Faults that are printed; a rotten disk has thousands."""


def run(
    path: Path,
    *,
    drop: Path | None = None,
    workers: int = 1,
    conformance: bool = False,
    full: bool = False,
    json: bool = False,
) -> int:
    """Hold every byte of an archive against its checksums, or every part of it against the format.

    Args:
        path: of the archive
        drop: text file to write the ids to that no damage hurts, one a line, so that work can go on without the others
        workers: processes to read in
        conformance: check instead that the archive is what the format says, whoever wrote it, and that other readers
            see the same values
        full: with --conformance, decode and compare all chunks instead of some of each array
        json: print the report as JSON

    Returns:
        Exit status 0 if it is whole, 1 if something is damaged.

    Raises:
        ConfigInvalid: options that do not go together.
        WriteFailed: the list of ids cannot be written; where that shows at once, nothing is read.
        ArchiveInvalid: it is no archive, or a file is damaged that every location needs and `drop` was asked for.
    """
    if conformance:
        if drop is not None or workers != 1:
            raise ConfigInvalid("--conformance with --drop or --workers", expected="one of them", remedy="run both")
        return _conform(path, full=full, json=json)
    if full:
        raise ConfigInvalid("--full without --conformance", expected="both", remedy="verify reads all bytes anyway")
    if drop is not None:
        require_writable(drop)
    with progress_bar(f"verifying {path}") as progress:
        report = verify_archive(path, workers=workers, progress=progress)
    _show(report, json=json)
    if drop is not None:
        spared = report.spared
        with whole_or_told(drop) as partial:
            partial.write_text("".join(f"{location}\n" for location in spared), encoding="utf-8")
        log.info("%s: %d of %d locations are not hurt", drop, len(spared), len(report.ids))
    return 0 if report.is_whole else 1


def _show(report: VerifyReport, *, json: bool) -> None:
    if json:
        sys.stdout.write(dumps(report.to_json(), indent=2) + "\n")
        return
    console = Console(soft_wrap=True)
    for fault in report.faults[:LINES]:
        console.print(escape(_line(fault)), highlight=False)
    if len(report.faults) > LINES:
        console.print(f"and {len(report.faults) - LINES} more: --json lists all", highlight=False)
    verdict = "whole" if report.is_whole else f"DAMAGED, {len(report.faults)} faults"
    console.print(
        f"{escape(str(report.path))}: {verdict}; {report.num_files} files, {report.num_chunks} chunks, "
        f"{report.num_bytes} bytes checked",
        highlight=False,
    )
    if not report.is_whole:
        console.print("copy the damaged files again, or pack anew; --drop lists what can be used", highlight=False)


def _conform(path: Path, *, full: bool, json: bool) -> int:
    from ssl4eo.archive.conformance import check_archive

    checks = list(check_archive(path, full=full))
    failed = [check for check in checks if not check.passed]
    if json:
        sys.stdout.write(dumps([vars(check) for check in checks], indent=2) + "\n")
        return 1 if failed else 0
    console = Console(soft_wrap=True)
    for check in checks:
        word = "passed" if check.passed else "FAILED"
        console.print(f"{word}  {check.name}: {escape(check.evidence)}", highlight=False)
    verdict = f"DOES NOT CONFORM, {len(failed)} checks failed" if failed else "conforms"
    console.print(f"{escape(str(path))}: {verdict}; {len(checks)} checks", highlight=False)
    return 1 if failed else 0


def _line(fault: Fault) -> str:
    line = f"{fault.file}: {fault.reason}"
    if fault.locations:
        listed = ", ".join(fault.locations[:5]) + (" ..." if len(fault.locations) > 5 else "")
        line += f" ({fault.modality}, {len(fault.locations)} locations: {listed})"
    return line
