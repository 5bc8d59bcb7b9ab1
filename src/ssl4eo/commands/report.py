# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo report`: tables and figures from recorded results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

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


def build_parser(arguments: Sequence[str]) -> ArgumentParser:
    """Make the parser: one or more run folders by position, everything else from the signature of `run`."""
    del arguments  # the options do not depend on them
    parser = ArgumentParser(prog="ssl4eo report", description="Make tables, figures and a page from recorded results.")
    parser.add_argument("--config", action="config", help="YAML file with values of these options")
    parser.add_argument(
        "runs", nargs="+", type=Path, help="run folders, each with any of config.json, log.jsonl and scores.jsonl"
    )
    parser.add_function_arguments(run, as_group=False, skip={"runs", "json"})
    parser.add_argument("--json", action="store_true", help="print results.json instead of the path of the page")
    return parser


def run_parsed(parser: ArgumentParser, values: Namespace) -> int:
    """Make the report that the parsed arguments describe."""
    del parser
    return run(
        values.runs,
        out=values.out,
        archive=values.archive,
        location=values.location,
        title=values.title,
        json=values.json,
    )
