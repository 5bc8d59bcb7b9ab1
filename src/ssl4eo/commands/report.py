# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo report`: tables and figures from recorded results."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from ssl4eo.errors import ConfigInvalid
from ssl4eo.report.write import check_request, write_report

log = logging.getLogger(__name__)


def run(
    runs: list[Path],
    *,
    out: Path,
    archive: Path | None = None,
    location: str | None = None,
    samples: int = 6,
    no_network: bool = False,
    title: str | None = None,
    json: bool = False,
) -> int:
    """Make a report (Markdown and one self-contained HTML page) from recorded runs.

    Args:
        runs: run folders, each with any of config.json, log.jsonl and scores.jsonl
        out: folder for report.html, report.md, results.json and figures/; an earlier report there is replaced, and a
            folder that holds anything else is refused unless it is one of the runs
        archive: archive (or folder of pictures) whose images are shown: one location in all seasons, and for runs of
            `pretrain` views, masks, reconstructions, attention and nearest neighbors; without it they are left out,
            unless an earlier report recorded them beside the run
        location: id of the location that is shown in all seasons; without it the most varied of up to 12 is chosen
        samples: rows of pictures that are shown of each run
        no_network: load no weights and run no network: no filters, attention, reconstructions and neighbors, unless an
            earlier report recorded them beside the run
        title: heading of the report; without it the names of the recipes
        json: print results.json instead of the path of the page

    Returns:
        Exit status 0.
    """
    if samples < 1:
        raise ConfigInvalid(f"{samples} samples", expected="1 or more")
    check_request(runs, out, archive)
    options = {"--samples": str(samples)} if samples != 6 else {}
    options |= {"--no-network": ""} if no_network else {}
    with tempfile.TemporaryDirectory(prefix="ssl4eo-report-") as spare:
        recordings = _record(runs, Path(spare), archive, samples=samples, network=not no_network)
        page = write_report(
            runs, out, archive=archive, location=location, title=title, recordings=recordings, options=options
        )
    sys.stdout.write(page.with_name("results.json").read_text(encoding="utf-8") if json else f"{page}\n")
    return 0


def _record(runs: list[Path], spare: Path, archive: Path | None, *, samples: int, network: bool) -> dict[Path, Path]:
    """Record what pictures of the runs need, beside each run, or for this report alone where nothing can be written."""
    trained = [path for path in runs if (path / "config.json").is_file()]
    if not trained or (archive is None and not network):
        return {}
    from ssl4eo.insight.record import record
    from ssl4eo.pretraining.run_folder import INSIGHT
    from ssl4eo.progress import progress_bar

    recordings: dict[Path, Path] = {}
    for number, path in enumerate(trained):
        target = path / INSIGHT
        if not os.access(path, os.W_OK):
            target = spare / f"{number}.npz"
            log.info("%s cannot be written to: what is recorded of it serves this report alone", path)
        with progress_bar(f"looking into {path.resolve().name}") as step:
            made = record(path, data=archive, samples=samples, network=network, target=target, progress=step)
        if made is not None:
            recordings[path] = made
    return recordings
