# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page: style and pictures inside, no script, nothing fetched, and a policy that says so.

Every text that comes from a record is escaped. The small chart beside each row of the table
is inline SVG, so that it follows the page's light and dark colors; figures are PNG on white.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from ssl4eo.report.classes import CLASSES_LEAD, ClassTable
from ssl4eo.report.content import Report, RunRecord
from ssl4eo.report.inline import inlined, size_of
from ssl4eo.report.inside import InsideRun
from ssl4eo.report.left_out import LEFT_OUT_LEAD, LeftOut
from ssl4eo.report.published import PublishedRow, cell_words, reasons
from ssl4eo.report.style import Picture
from ssl4eo.report.table import Row, Summary
from ssl4eo.report.wording import DASH, PLUS_MINUS, interval_words, points, scores_words, sentence

TASKS_LEAD = "Every network by every protocol on record, with what is known of the spread."
_TEASER_LEAD = "The same ground at every date, as the sensors and processing levels of the archive show it."
_TABLE_LEAD = (
    "The same backbone, protocol and data on both sides; only the weights differ. "
    f"Mean {PLUS_MINUS} sample standard deviation over seeds, in percent; one seed has no spread. "
    "Differences are taken before rounding."
)
_PROJECTION_LEAD = "Each point is one test item, placed by the network's features alone; labels only color it."
_JUDGED_LEAD = "Maps beside the true ones, what is taken for what, and how protocols that train came to it."
_WIDE = 640
"""Pixels of the page beyond which a figure is scrolled on a phone, and not shrunk until nobody can read it."""
_SYNTHETIC_TAG = ' <span class="tag">synthetic</span>'
_CURVES_LEAD = "Whether training went well, and whether features got better while the loss fell."


def render_html(report: Report) -> str:
    """Render the whole page."""
    css = "\n" + files("ssl4eo.report").joinpath("page.css").read_text(encoding="utf-8")
    images = inlined(report.pictures)
    parts = [
        _hero(report),
        "<main>",
        _pictures("One place, every season", _TEASER_LEAD, [report.teaser] if report.teaser else [], images),
        _table(report.rows),
        _pictures("Task by task", TASKS_LEAD, report.tasks, images),
        _published(report.published),
        _pictures("What the features look like", _PROJECTION_LEAD, report.projections, images),
        _pictures("What was predicted", _JUDGED_LEAD, report.judgements, images),
        _by_class(report.by_class),
        _pictures("How training went", _CURVES_LEAD, report.curves, images),
        *(_inside(run, images) for run in report.inside),
        _records(report.records),
        _left_out(report.left_out),
        _missing(report.missing),
        "</main>",
        _footer(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(css)}">\n'
        f"<title>{escape(report.title)}</title>\n<style>{css}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _policy(css: str) -> str:
    """Allow this very style and pictures inside of the page, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _hero(report: Report) -> str:
    badge = f'<p class="badge">{escape(report.origin)}</p>' if report.origin else ""
    numbers = "".join(
        f'<div class="number{" main" if i == 2 and report.primary else ""}"><b>{escape(n.value)}</b>'
        f"<span>{escape(n.label)}</span><small>{escape(n.detail)}</small></div>"
        for i, n in enumerate(report.numbers)
    )
    return (
        '<header class="hero"><div class="hero-inner">\n<p class="kicker">ssl4eo report</p>\n'
        f'<h1>{escape(report.title)}</h1>\n{badge}\n<p class="headline">{escape(report.headline)}</p>\n'
        + (f'<div class="numbers">{numbers}</div>\n' if numbers else "")
        + "</div></header>"
    )


def _pictures(title: str, lead: str, pictures: Sequence[Picture], images: Mapping[str, str]) -> str:
    if not pictures:
        return ""
    figures = "\n".join(_figure(p, images) for p in pictures)
    return f'<section>\n<h2>{escape(title)}</h2>\n<p class="lead">{escape(lead)}</p>\n{figures}\n</section>'


def _figure(picture: Picture, images: Mapping[str, str]) -> str:
    width, height = size_of(picture.png)
    kind = ' class="wide"' if width > _WIDE else ""
    return (
        f'<figure><div class="scroll" tabindex="0"><img{kind} width="{width}" height="{height}" '
        f'alt="{escape(picture.alt)}" src="{images[picture.name]}"></div>'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _inside(run: InsideRun, images: Mapping[str, str]) -> str:
    """Show what a run saw and what its network does; a part without pictures says why in a line."""
    parts = "\n".join(
        f'<h3 class="part">{escape(part.title)}</h3>\n'
        + (
            "\n".join(_figure(p, images) for p in part.pictures)
            if part.pictures
            else f'<p class="absent">{escape(sentence(part.reason))}</p>'
        )
        for part in run.parts
    )
    lead = f'<p class="lead">{escape(run.lead)}</p>\n' if run.lead else ""
    return f"<section>\n<h2>Inside {escape(run.name)}</h2>\n{lead}{parts}\n</section>"


def _by_class(tables: Sequence[ClassTable]) -> str:
    if not tables:
        return ""
    cards = "\n".join(
        f'<details class="card"{" open" if len(tables) == 1 else ""}><summary>{escape(table.title)}'
        f"{_SYNTHETIC_TAG if table.synthetic else ''}</summary>"
        f'<div class="scroll" tabindex="0">{_plain_table(("Class", *table.columns), table.rows)}</div></details>'
        for table in tables
    )
    return f'<section>\n<h2>Class by class</h2>\n<p class="lead">{escape(CLASSES_LEAD)}</p>\n{cards}\n</section>'


def _plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose first column names its rows."""
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f'<td class="figure">{escape(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return (
            '<section>\n<h2>Results</h2>\n<div class="card">No scores are recorded: '
            "run <code>ssl4eo evaluate</code> and make this report again.</div>\n</section>"
        )
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("Task", "Protocol", "Untrained", "Pre-trained", "Points", "0 to 100 %")
    )
    body = "\n".join(_table_row(row) for row in rows)
    return (
        f'<section>\n<h2>Results</h2>\n<p class="lead">{escape(_TABLE_LEAD)}</p>\n'
        '<div class="card"><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
        '<p class="key"><span class="dot before"></span>untrained <span class="dot after"></span>pre-trained; '
        "pale bar: one standard deviation to each side</p></div>\n</section>"
    )


def _published(rows: Sequence[PublishedRow]) -> str:
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col">{escape(name)}</th>' for name in ("Network", *(c.column.title for c in rows[0].cells))
    )
    body = "\n".join(
        f'<tr><th scope="row">{escape(row.checkpoint)}</th>'
        + "".join(
            f'<td class="figure">{escape(numbers)}<small>{escape(meaning)}</small></td>'
            for numbers, meaning in map(cell_words, row.cells)
        )
        + "</tr>"
        for row in rows
    )
    notes = "".join(f"<li>{escape(reason)}</li>" for reason in reasons())
    return (
        '<section>\n<h2>Beside the published table</h2>\n<p class="lead">Published / measured here by the published '
        "protocol [%]. Tolerances and why:</p><ul>" + notes + "</ul>\n"
        '<div class="card"><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div></div>\n</section>"
    )


def _table_row(row: Row) -> str:
    tag = ' <span class="tag">synthetic</span>' if row.synthetic else ""
    where = (
        f"{row.part} part, split {row.split}; {row.num_train:,} train, {row.num_test:,} test, {row.num_classes} classes"
    )
    notes = "".join(f"<small>{escape(note)}</small>" for note in row.notes)
    metric = f"{row.metric}, {row.backbone}"
    experiment = f"<small>{escape(row.experiment)}</small>" if row.experiment else ""
    gain = DASH if row.difference is None else points(row.difference)
    return (
        f'<tr><th scope="row">{escape(row.task)}{tag}<small>{escape(where)}</small></th>'
        f"<td>{escape(row.protocol_title)}<small>{escape(metric)}</small>{notes}</td>"
        f'<td class="figure">{_cell(row.untrained)}</td><td class="figure">{_cell(row.pretrained)}{experiment}</td>'
        f'<td class="figure gain">{gain}</td><td>{_dumbbell(row)}</td></tr>'
    )


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return f"{DASH}<small>not scored</small>"
    spread = DASH if summary.spread is None else points(100 * summary.spread, signed=False)
    details = "".join(
        f"<small>{escape(words)}</small>" for words in (scores_words(summary), interval_words(summary)) if words
    )
    return f"{100 * summary.mean:.1f} {PLUS_MINUS} {spread}{details}"


def _dumbbell(row: Row) -> str:
    """Draw both means on a line from 0 to 100 %, with their spread."""
    marks: list[str] = []
    means = [10 + 170 * s.mean for s in (row.untrained, row.pretrained) if s is not None]
    if len(means) == 2:
        marks.append(
            f'<line class="after" x1="{means[0]:.1f}" x2="{means[1]:.1f}" y1="15" y2="15" stroke-width="2.5"/>'
        )
    for name, summary in (("before", row.untrained), ("after", row.pretrained)):
        if summary is None:
            continue
        x, half = 10 + 170 * summary.mean, 170 * (summary.spread or 0.0)
        marks.append(f'<line class="{name} spread" x1="{x - half:.1f}" x2="{x + half:.1f}" y1="15" y2="15"/>')
        marks.append(f'<circle class="{name}" cx="{x:.1f}" cy="15" r="5"/>')
    label = ", ".join(
        f"{name} {100 * s.mean:.1f} percent"
        for name, s in (("untrained", row.untrained), ("pre-trained", row.pretrained))
        if s
    )
    ticks = "".join(f'<line class="axis" x1="{x}" x2="{x}" y1="10" y2="20"/>' for x in (10, 95, 180))
    return (
        f'<svg class="dumbbell" viewBox="0 0 190 30" role="img" aria-label="{escape(label)}">'
        f'<line class="axis" x1="10" x2="180" y1="15" y2="15"/>{ticks}{"".join(marks)}</svg>'
    )


def _records(records: Sequence[RunRecord]) -> str:
    cards = "\n".join(
        f'<div class="card"><h3>{escape(record.name)}</h3><dl>'
        + "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in record.lines)
        + "</dl>"
        + _list(record.alarms, "alarms", "Alarms of the training loop")
        + _options(record)
        + "</div>"
        for record in records
    )
    return f"<section>\n<h2>What was run</h2>\n{cards}\n</section>"


def _options(record: RunRecord) -> str:
    if not record.options:
        return ""
    table = _plain_table(("Option", "Value"), record.options)
    return (
        f"<details><summary>Resolved config, {len(record.options)} options</summary>"
        f'<div class="scroll" tabindex="0">{table}</div></details>'
    )


def _left_out(reasons: Sequence[LeftOut]) -> str:
    if not reasons:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(r.what)}</th><td>{escape(r.why)}<small>{escape(r.remedy)}</small></td></tr>'
        for r in reasons
    )
    return (
        f'<section>\n<h2>What was left out</h2>\n<p class="lead">{escape(LEFT_OUT_LEAD)}</p>\n'
        '<div class="card"><div class="scroll" tabindex="0">'
        '<table><thead><tr><th scope="col">Judgement or items</th><th scope="col">Why, and the way to get it</th></tr>'
        f"</thead><tbody>\n{rows}\n</tbody></table></div></div>\n</section>"
    )


def _missing(missing: Sequence[str]) -> str:
    if not missing:
        return ""
    return f'<section>\n<h2>What is missing here</h2>\n<div class="card">{_list(missing)}</div>\n</section>'


def _list(items: Sequence[str], css: str = "", title: str = "") -> str:
    if not items:
        return ""
    lines = "".join(f"<li>{escape(item)}</li>" for item in items)
    heading = f"<b>{escape(title)}</b>" if title else ""
    return f'<div class="{css}">{heading}<ul>{lines}</ul></div>'


def _footer(report: Report) -> str:
    return (
        f"<footer>Made by ssl4eo {escape(report.version)} from recorded results; every number is in results.json "
        f"beside this page. The command:<pre><code>{escape(report.command)}</code></pre></footer>"
    )
