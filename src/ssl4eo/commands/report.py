# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo report`: tables and figures from recorded results."""

from __future__ import annotations

import sys
from pathlib import Path

from ssl4eo.report.write import write_report


def run(
    runs: list[Path],
    *,
    out: Path,
    archive: Path | None = None,
    location: str | None = None,
    title: str | None = None,
    json: bool = False,
) -> int:
    """Make a report (Markdown and one self-contained HTML page) from recorded runs.

    Args:
        runs: run folders, each with any of config.json, log.jsonl and scores.jsonl
        out: folder for report.html, report.md, results.json and figures/; an earlier report there is replaced
        archive: archive for the picture of one location in all seasons; without it the picture is left out
        location: id of that location; without it the most varied of up to 12 is chosen
        title: heading of the report; without it the names of the recipes
        json: print results.json instead of the path of the page

    Returns:
        Exit status 0.
    """
    page = write_report(runs, out, archive=archive, location=location, title=title)
    sys.stdout.write(page.with_name("results.json").read_text(encoding="utf-8") if json else f"{page}\n")
    return 0
