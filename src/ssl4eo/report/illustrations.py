# SPDX-License-Identifier: Apache-2.0
"""Which pictures a report has, with the words that go with them.

Chooses what is drawn (location, features, runs) and says it in the caption; the drawing itself is in
teaser.py, projection.py and curves.py. What cannot be drawn is added to the list `missing`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssl4eo.errors import ArchiveInvalid, DataMissing, ShardCorrupt
from ssl4eo.report.classes import ClassTable, best_of, class_tables, name_of
from ssl4eo.report.curves import curves_figure, has_mean
from ssl4eo.report.names import file_stem
from ssl4eo.report.predictions import (
    Examples,
    answers_figure,
    confusion_figure,
    examples_figure,
    read_examples,
    training_figure,
)
from ssl4eo.report.projection import Features, cloud, projection_figure, read_features
from ssl4eo.report.records import Run
from ssl4eo.report.style import Picture, picture, styled
from ssl4eo.report.table import PROTOCOL_TITLES, Labelled, Row, labelled_scores
from ssl4eo.report.task_figures import by_task, task_figure
from ssl4eo.report.teaser import collect_sample, teaser_figure, teaser_rows
from ssl4eo.report.wording import percent

log = logging.getLogger(__name__)

SYNTHETIC = "Synthetic data. "


def teaser_picture(
    runs: Sequence[Run], missing: list[str], *, archive: Path | None, location: str | None
) -> Picture | None:
    """Draw one location of the archive, None without one."""
    if archive is None:
        paths = [run.config["data"].get("path") or "A.zarr" for run in runs if run.config is not None]
        hint = paths[0] if paths else "A.zarr"
        missing.append(f"No picture of the data: no archive was named (--archive {hint}).")
        return None
    if archive.is_dir() and archive.suffix != ".zarr" and not (archive / "zarr.json").is_file():
        missing.append(f"No picture of one location in all seasons: {archive} is no archive.")
        return None
    from ssl4eo import open_archive

    try:
        opened = open_archive(archive)
        sample = collect_sample(opened, location)
    except (ArchiveInvalid, DataMissing, ShardCorrupt) as error:
        log.warning("%s", error)
        missing.append(f"No picture of one location in all seasons: {error}.")
        return None
    synthetic = opened.provenance.synthetic
    rows = [f"{row.title} ({row.subtitle})" for row in teaser_rows(tuple(sample.images))]
    chosen = "" if location else ", the one with the most varied vegetation of up to 12 looked at"
    caption = (
        f"Location {sample.location.id}{chosen}, of {opened.provenance.title}. {SYNTHETIC if synthetic else ''}"
        "All seasons of a row share one stretch, so brightness can be compared along a row, not between rows."
    )
    alt = f"Grid of images of one location: {sample.num_seasons} seasons across; down: {', '.join(rows)}."
    return picture("teaser", teaser_figure(sample, synthetic=synthetic), alt, caption, synthetic=synthetic)


MOST_PROJECTIONS = 8
"""Tasks of which features are drawn: a projection takes seconds."""


def projection_pictures(runs: Sequence[Run], primary: Row | None, missing: list[str]) -> tuple[Picture, ...]:
    """Draw untrained and pre-trained features of every task that keeps some, the headline's task first."""
    entries = [e for e in labelled_scores(runs) if e.score.features is not None]
    absent = [e for e in entries if e.score.features is not None and not e.score.features.is_file()]
    files = dict.fromkeys(e.score.features for e in absent)
    missing += [f"The features file {file} is named in scores.jsonl but absent." for file in files]
    present = [e for e in entries if e not in absent]
    if not present:
        missing.append("No projection of features: no score keeps a features file (`ssl4eo evaluate --save-features`).")
        return ()
    tasks = list(dict.fromkeys((e.score.task, e.score.split) for e in present))
    tasks.sort(key=lambda task: primary is None or task != (primary.task, primary.split))
    if len(tasks) > MOST_PROJECTIONS:
        left = ", ".join(f"{task} ({split})" for task, split in tasks[MOST_PROJECTIONS:])
        missing.append(f"No projection of the features on {left}: {MOST_PROJECTIONS} tasks are drawn at most.")
    names: set[str] = set()
    return tuple(
        _projection([e for e in present if (e.score.task, e.score.split) == task], primary, names)
        for task in tasks[:MOST_PROJECTIONS]
    )


def _projection(present: Sequence[Labelled], primary: Row | None, names: set[str]) -> Picture:
    """Draw the features on one task."""
    after = _pick([e for e in present if e.score.pretrained], primary)
    comparable = [e for e in present if not e.score.pretrained and (after is None or _data(e) == _data(after))]
    before = _pick(comparable, primary)
    first = after or before
    assert first is not None, "one is present"
    clouds = [
        cloud(_cloud_title(name, e), _load(e), "no features recorded")
        for name, e in (("Untrained", before), ("Pre-trained", after))
    ]
    shown = max((len(c.points) for c in clouds if c.points is not None), default=0)
    synthetic = first.score.synthetic
    caption = (
        f"{shown:,} items of the {first.score.part} part of {first.score.task}, one point each, colored by class. "
        f"{SYNTHETIC if synthetic else ''}"
        "PCA, then t-SNE with a fixed seed: neighbors are meaningful, distances between groups are not."
    )
    alt = f"Two scatter plots of features, untrained and pre-trained, colored by the classes of {first.score.task}."
    stem = file_stem("projection" if not names else f"projection-{first.score.task}-{first.score.split}", names)
    return picture(stem, projection_figure(clouds, synthetic=synthetic), alt, caption, synthetic=synthetic)


def _pick(entries: Sequence[Labelled], primary: Row | None) -> Labelled | None:
    """Choose the features to draw: those of the headline's task first, k-NN first, lowest seed."""
    wanted = None if primary is None else (primary.task, primary.split, primary.num_test, primary.backbone)
    return min(
        entries,
        key=lambda e: (_data(e) != wanted, e.score.protocol != "knn", e.score.task, e.score.seed),
        default=None,
    )


def _data(entry: Labelled) -> tuple[str, str, int, str]:
    """Equal for features of the same items by the same architecture."""
    return entry.score.task, entry.score.split, entry.score.num_test, entry.score.backbone


def _cloud_title(name: str, entry: Labelled | None) -> str:
    if entry is None:
        return name
    s = entry.score
    return f"{name}: {PROTOCOL_TITLES.get(s.protocol, s.protocol)} {s.metric} {percent(s.value)}, seed {s.seed}"


def _load(entry: Labelled | None) -> Features | None:
    return None if entry is None or entry.score.features is None else read_features(entry.score.features)


def curve_pictures(runs: Sequence[Run], rows: Sequence[Row], missing: list[str]) -> tuple[Picture, ...]:
    """Draw the training curves of every run that kept a log."""
    pictures: list[Picture] = []
    names: set[str] = set()
    for run in runs:
        if run.log is None or not (run.log.steps or run.log.knn):
            if run.config is not None or not run.scores:  # a folder of scores alone never had a log
                what = "no log.jsonl" if run.log is None else "an empty log.jsonl"
                missing.append(f"Run {run.name} has {what}: no curves.")
            continue
        if run.log.is_cut:
            missing.append(f"The last line of {run.path / 'log.jsonl'} was cut short, as by a kill, and is left out.")
        name = file_stem(f"curves-{run.name}", names)
        figure = curves_figure(run.log, rows=rows, synthetic=run.synthetic)
        pictures.append(picture(name, figure, *_curves_words(run), synthetic=run.synthetic))
    return tuple(pictures)


def task_pictures(rows: Sequence[Row]) -> tuple[Picture, ...]:
    """Draw every network by every protocol, a figure for each task and split."""
    names = set[str]()
    pictures: list[Picture] = []
    for (task, split), members in by_task(rows).items():
        synthetic = any(row.synthetic for row in members)
        alt = f"Scores on {task}: " + "; ".join(map(_scores_of, members)) + "."
        caption = (
            f"{task}, split {split}: orange untrained, blue pre-trained. {SYNTHETIC if synthetic else ''}Lines: 95 % "
            "interval over test items of one score, one standard deviation to each side of several."
        )
        stem = file_stem(f"task-{task}-{split}", names)
        pictures.append(picture(stem, task_figure(members), alt, caption, synthetic=synthetic))
    return tuple(pictures)


def _scores_of(row: Row) -> str:
    sides = (("untrained", row.untrained), ("pre-trained", row.pretrained))
    return f"{row.protocol_title} " + ", ".join(f"{name} {percent(s.mean)}" for name, s in sides if s is not None)


MOST_CLASSES = 45
"""Of a confusion matrix that can be read."""


def judgement_pictures(runs: Sequence[Run], missing: list[str]) -> tuple[Picture, ...]:
    """Draw predicted maps, confusion matrices, and the course of protocols that train."""
    entries = labelled_scores(runs)
    names = set[str]()
    shown: list[tuple[Labelled, Examples]] = []
    pictures = [_course(group, names) for group in _by_protocol(e for e in entries if e.score.curve)]
    for entry in entries:
        s = entry.score
        if s.examples is not None and not s.examples.is_file():
            missing.append(f"The file of examples {s.examples} is named in scores.jsonl but absent.")
        elif s.examples is not None:
            shown.append((entry, read_examples(s.examples)))
    pictures += [_maps(entry, examples, names) for entry, examples in shown if examples.truths.ndim == 3]
    answered = _by_protocol(entry for entry, examples in shown if examples.truths.ndim == 1)
    pictures += [_answers(best_of(group), names) for group in answered]
    counted = _by_protocol(e for e in entries if e.score.confusion and len(e.score.classes) <= MOST_CLASSES)
    return (*pictures, *(_confusion(best_of(group), names) for group in counted))


def tables_by_class(runs: Sequence[Run]) -> tuple[ClassTable, ...]:
    """Make a table of classes for each task and protocol that records them."""
    return class_tables(_by_protocol(labelled_scores(runs)))


def _by_protocol(entries: Iterable[Labelled]) -> list[list[Labelled]]:
    groups: dict[tuple[str, str, str], list[Labelled]] = {}
    for entry in entries:
        groups.setdefault((entry.score.task, entry.score.split, entry.score.protocol), []).append(entry)
    return list(groups.values())


def _words_of(entry: Labelled) -> str:
    s = entry.score
    protocol = PROTOCOL_TITLES.get(s.protocol, s.protocol)
    return f"{protocol} on {s.task}, split {s.split}. {SYNTHETIC if s.synthetic else ''}"


def _answers(entry: Labelled, names: set[str]) -> Picture:
    """Draw items of a task of classes."""
    s = entry.score
    assert s.examples is not None, "chosen by it"
    examples = read_examples(s.examples)
    wrong = int((examples.truths != examples.predicted).sum())
    caption = (
        f"{_words_of(entry)}{name_of(s)}: {s.metric.replace('_', ' ')} {percent(s.value)}. Test items chosen by chance "
        f"among those that were wrong (the true class, and what it was taken for) and those that were right: their "
        "numbers say nothing of the score."
    )
    alt = f"{wrong} test items of {s.task} that were judged wrong, {len(examples.ids) - wrong} judged right."
    figure = answers_figure(examples, synthetic=s.synthetic)
    return picture(file_stem(f"answers-{s.task}-{s.protocol}", names), figure, alt, caption, synthetic=s.synthetic)


def _maps(entry: Labelled, examples: Examples, names: set[str]) -> Picture:
    s = entry.score
    caption = (
        f"{_words_of(entry)}{name_of(entry.score)}: {s.metric.replace('_', ' ')} {percent(s.value)}. Test items: half "
        "with most of the classes beyond the first, half by chance; gray counts nowhere."
    )
    alt = f"Images, true maps and predicted maps of {len(examples.ids)} test items of {s.task}."
    with styled():
        figure = examples_figure(examples)
    return picture(file_stem(f"maps-{s.task}-{s.protocol}", names), figure, alt, caption, synthetic=s.synthetic)


def _confusion(entry: Labelled, names: set[str]) -> Picture:
    s = entry.score
    caption = (
        f"{_words_of(entry)}{name_of(entry.score)}: {s.metric.replace('_', ' ')} {percent(s.value)}. Percent of each "
        "true class, by row."
    )
    alt = f"Confusion matrix of {len(s.classes)} classes of {s.task} by {s.protocol}."
    with styled():
        figure = confusion_figure(s.confusion, s.classes)
    stem = file_stem(f"confusion-{s.task}-{s.protocol}", names)
    return picture(stem, figure, alt, caption, synthetic=s.synthetic)


def _course(group: Sequence[Labelled], names: set[str]) -> Picture:
    group = sorted(group, key=lambda entry: not entry.score.pretrained)  # blue is pre-trained, as everywhere
    s = group[0].score
    with styled():
        figure = training_figure({name_of(entry.score): entry.score.curve for entry in group}, s.metric)
    alt = f"{s.metric} on the validation part by epoch, {len(group)} networks on {s.task}."
    synthetic = any(entry.score.synthetic for entry in group)
    caption = f"{_words_of(group[0])}Each line is one network on the validation part, which the epoch is chosen by."
    return picture(file_stem(f"course-{s.task}-{s.protocol}", names), figure, alt, caption, synthetic=synthetic)


_LINES = "Loss and rates: faint as recorded, strong as moving mean."
_FEW_LINES = "Loss and rates: as recorded, too few steps for a mean."


def _curves_words(run: Run) -> tuple[str, str]:
    assert run.log is not None
    last_loss = f"last loss {run.log.steps[-1].loss:.3f}" if run.log.steps else "no loss"
    last_knn = f"last k-NN accuracy {percent(run.log.knn[-1].accuracy)}" if run.log.knn else "no k-NN values"
    alt = f"Training curves of {run.name}: {last_loss}, {last_knn}, {len(run.log.alarms)} alarms."
    caption = (
        f"Run {run.name}, {len(run.log.steps):,} recorded steps. {SYNTHETIC if run.synthetic else ''}"
        f"{_LINES if has_mean(len(run.log.steps)) else _FEW_LINES} Accuracy is on the validation part."
    )
    return alt, caption
