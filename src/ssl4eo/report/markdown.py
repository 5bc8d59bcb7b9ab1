# SPDX-License-Identifier: Apache-2.0
"""The report as Markdown, with its figures beside it: the same content as the page.

Texts from records are escaped, so that a name cannot become markup or break a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ssl4eo.report.classes import CLASSES_LEAD, ClassTable
from ssl4eo.report.content import Report, RunRecord
from ssl4eo.report.inside import InsideRun
from ssl4eo.report.left_out import LEFT_OUT_LEAD, LeftOut
from ssl4eo.report.published import PublishedRow, cell_words, reasons
from ssl4eo.report.style import Picture
from ssl4eo.report.table import Row, Summary
from ssl4eo.report.wording import DASH, PLUS_MINUS, interval_words, points, scores_words, sentence

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~$])")


def render_markdown(report: Report) -> str:
    """Render the whole document; figures are `figures/<name>.png`."""
    blocks = [f"# {text(report.title)}"]
    if report.origin:
        blocks.append(f"**{text(report.origin)}.**")
    blocks.append(text(report.headline))
    blocks += _pictures("One place, every season", [report.teaser] if report.teaser else [])
    blocks += ["## Results", *_table(report.rows)]
    blocks += _published(report.published)
    blocks += _pictures("Task by task", report.tasks)
    blocks += _pictures("What the features look like", report.projections)
    blocks += _pictures("What was predicted", report.judgements)
    blocks += _by_class(report.by_class)
    blocks += _pictures("How training went", report.curves)
    blocks += [block for run in report.inside for block in _inside(run)]
    blocks.append("## What was run")
    blocks += [block for record in report.records for block in _record(record)]
    blocks += _left_out(report.left_out)
    if report.missing:
        blocks += ["## What is missing here", "\n".join(f"- {text(item)}" for item in report.missing)]
    blocks += [
        "---",
        f"Made by ssl4eo {text(report.version)} from recorded results; every number is in `results.json`.",
        f"```\n{report.command.replace('```', '')}\n```",
    ]
    return "\n\n".join(blocks) + "\n"


def text(value: str) -> str:
    """Escape what Markdown or HTML would take for markup; line breaks become spaces."""
    return _MARKUP.sub(r"\\\1", " ".join(value.split()))


def _pictures(title: str, pictures: Sequence[Picture]) -> list[str]:
    if not pictures:
        return []
    return [f"## {title}", *_images(pictures)]


def _images(pictures: Sequence[Picture]) -> list[str]:
    return [f"![{text(p.alt)}](figures/{p.name}.png)\n\n{text(p.caption)}" for p in pictures]


def _inside(run: InsideRun) -> list[str]:
    blocks = [f"## Inside {text(run.name)}", *([text(run.lead)] if run.lead else [])]
    for part in run.parts:
        blocks.append(f"### {text(part.title)}")
        blocks += _images(part.pictures) if part.pictures else [text(sentence(part.reason))]
    return blocks


def _by_class(tables: Sequence[ClassTable]) -> list[str]:
    if not tables:
        return []
    blocks = ["## Class by class", CLASSES_LEAD]
    for table in tables:
        lines = [f"| {' | '.join(('class', *table.columns))} |", f"|---|{'---:|' * len(table.columns)}"]
        lines += [f"| {' | '.join(map(text, row))} |" for row in table.rows]
        blocks += [f"### {text(table.title)}{' (synthetic)' if table.synthetic else ''}", "\n".join(lines)]
    return blocks


def _published(rows: Sequence[PublishedRow]) -> list[str]:
    if not rows:
        return []
    columns = [cell.column.title for cell in rows[0].cells]
    lines = [f"| {' | '.join(['network', *columns])} |", f"|{'---|' * (1 + len(columns))}"]
    for row in rows:
        cells = ["<br>".join(text(line) for line in cell_words(cell)) for cell in row.cells]
        lines.append(f"| {' | '.join([text(row.checkpoint), *cells])} |")
    notes = "\n".join(f"- {text(reason)}" for reason in reasons())
    lead = "Published / measured here by the published protocol [%]; tolerances and why:"
    return ["## Beside the published table", "\n".join(lines), lead, notes]


def _left_out(reasons: Sequence[LeftOut]) -> list[str]:
    if not reasons:
        return []
    lines = ["| judgement or items | why | the way to get it |", "|---|---|---|"]
    lines += [f"| {text(r.what)} | {text(r.why)} | {text(r.remedy)} |" for r in reasons]
    return ["## What was left out", LEFT_OUT_LEAD, "\n".join(lines)]


def _table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["No scores are recorded: run `ssl4eo evaluate` and make this report again."]
    head = [
        "task",
        "protocol",
        "backbone",
        "untrained [%]",
        "pre-trained [%]",
        "difference [points]",
        "pre-training",
        "data",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---:|---:|---:|---|---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    notes = [f"- {text(row.task)}, {text(row.protocol_title)}: {text(note)}" for row in rows for note in row.notes]
    explained = (
        f"Mean {PLUS_MINUS} sample standard deviation over seeds; one seed has no spread ({DASH}). "
        "Differences are taken before rounding."
    )
    return ["\n".join(lines), explained, *(["\n".join(notes)] if notes else [])]


def _cells(row: Row) -> list[str]:
    data = (
        f"{row.part} part, split {row.split}: {row.num_train:,} train, {row.num_test:,} test, {row.num_classes} classes"
    )
    return [
        text(row.task) + (" (synthetic)" if row.synthetic else ""),
        text(f"{row.protocol_title}, {row.metric}"),
        text(row.backbone),
        _cell(row.untrained),
        _cell(row.pretrained),
        DASH if row.difference is None else points(row.difference),
        text(row.experiment) or DASH,
        text(data),
    ]


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return f"{DASH} (not scored)"
    spread = DASH if summary.spread is None else points(100 * summary.spread, signed=False)
    words = ", ".join(part for part in (scores_words(summary), interval_words(summary)) if part)
    return f"{100 * summary.mean:.1f} {PLUS_MINUS} {spread} ({text(words)})"


def _record(record: RunRecord) -> list[str]:
    lines = "\n".join(f"| {text(key)} | {text(value)} |" for key, value in record.lines)
    blocks = [f"### {text(record.name)}", f"| | |\n|---|---|\n{lines}"]
    if record.alarms:
        blocks.append("Alarms of the training loop:\n\n" + "\n".join(f"- {text(alarm)}" for alarm in record.alarms))
    if record.options:
        options = "\n".join(f"| {text(name)} | {text(value)} |" for name, value in record.options)
        blocks.append(f"| option | value |\n|---|---|\n{options}")
    return blocks
