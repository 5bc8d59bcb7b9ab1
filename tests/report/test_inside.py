# SPDX-License-Identifier: Apache-2.0
"""Pages of what was recorded of a run: every part is drawn or has its reason, and bytes are the same twice."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from report_records import config_json, knn_row, score_row, step_row, write_features, write_lines, write_run

from ssl4eo.errors import SourceInvalid
from ssl4eo.report import content, inline
from ssl4eo.report.classes import class_tables
from ssl4eo.report.curves import curves_figure
from ssl4eo.report.illustrations import curve_pictures, judgement_pictures, projection_pictures, tables_by_class
from ssl4eo.report.inline import inlined
from ssl4eo.report.inside import inside_runs
from ssl4eo.report.insight import PARTS, read_insight
from ssl4eo.report.records import read_log, read_run
from ssl4eo.report.style import Picture, png
from ssl4eo.report.tiles import Row, Tile, tiles_figure
from ssl4eo.report.write import write_report

EVIL = "<script>alert(1)</script>"


def recording(folder, *, views=1, absent=None, drop=(), **changes):
    """Write insight.npz of two samples with 8 px views and two composites."""
    random = np.random.default_rng(0)

    def pictures(*shape):
        return random.integers(0, 255, (*shape, 8, 8, 3)).astype(np.uint8)

    arrays = {f"views.{v}": pictures(2, 2) for v in range(views)}
    arrays |= {
        "views.ids": np.array(["a", EVIL]),
        "views.seasons": np.zeros((2, views), np.int64),
        "masks": np.array([[True, False, True, True]] * 2),
        "reconstruction.original": pictures(2),
        "reconstruction.hidden": pictures(2),
        "reconstruction.predicted": pictures(2),
        "reconstruction.errors": np.array([0.25, 0.5]),
        "attention.images": pictures(2),
        "attention.maps": random.random((2, 12, 2, 2)).astype(np.float32),
        "attention.own": np.full((2, 12), 0.25),
        "attention.ids": np.array(["a", "b"]),
        "attention.seasons": np.zeros(2, np.int64),
        "neighbors.pictures": pictures(2, 4),
        "neighbors.cosines": np.full((2, 3), 0.75),
        "neighbors.ids": np.array([list("abcd")] * 2),
        "neighbors.seasons": np.zeros((2, 4), np.int64),
        "filters.weights": random.normal(size=(5, 2, 3, 3)).astype(np.float32),
        "filters.norms": np.array([1.0, 2.0]),
        "filters.bands": np.array(["VV", "VH"]),
        "filters.count": np.array(9),
    }
    record = {
        "version": 1,
        "absent": absent or {},
        "method": "MAE",
        "backbone": "vit_nano_8",
        "step": 20,
        "views_step": 19,
        "title": "little planet",
        "synthetic": True,
        "same_data": True,
        "norm_pixels": "patch",
        "num_bank": 40,
        "composites": ["true color", "radar"],
        "notes": [],
    }
    record |= {name: value for name, value in changes.items() if name not in arrays}
    arrays |= {name: value for name, value in changes.items() if name in arrays}
    kept = {name: value for name, value in arrays.items() if not name.startswith(tuple(drop))}
    np.savez(folder / "insight.npz", record=np.array(json.dumps(record)), **kept)


@pytest.fixture
def run(tmp_path):
    """A run with config, log and recording."""
    path = write_run(tmp_path / "run", config=config_json(), log=[knn_row(0, 0.5), *(step_row(s, 1.0) for s in (1, 2))])
    recording(path)
    return path


def test_a_season_has_the_number_that_it_has_everywhere(tmp_path):
    """Counted from 0, as in archives, options and errors; below views and beside neighbors."""
    run, seasons = write_run(tmp_path / "run", config=config_json()), np.array([[0, 3, 1, 2]] * 2)
    recording(run, **{"views.seasons": np.array([[0], [3]]), "neighbors.seasons": seasons, "num_seasons": 4})

    (inside,) = inside_runs([read_run(run)], [])

    drawn = {p.name: sorted(set(re.findall(r"season \d", p.svg.decode()))) for p in inside.pictures}
    assert drawn["views-run"] == ["season 0", "season 3"]
    assert drawn["neighbors-run"] == [f"season {n}" for n in range(4)]


REASONS = {"attention": "does not apply: resnet18 is a residual network", "masks": EVIL}


def _written(out):
    return {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of a run with three parts absent, written once: its run and its folder."""
    folder = tmp_path_factory.mktemp("report")
    run = write_run(folder / "run", config=config_json(), log=[step_row(1)], scores=[score_row(0.5)])
    recording(run, absent=REASONS, drop=("attention", "masks", "neighbors"))
    write_report([run], folder / "out")
    return run, folder / "out"


def test_every_part_is_drawn(run):
    """A picture for each part, two of the views; captions say whose steps, how many hidden, and of how many."""
    (inside,) = inside_runs([read_run(run)], [])

    assert [part.title for part in inside.parts] == list(PARTS.values())
    assert [len(part.pictures) for part in inside.parts] == [2, 1, 1, 1, 1, 1]
    words = {p.name: p.caption for p in inside.pictures}
    assert all("Synthetic data." in words[name] for name in words if not name.startswith("filters"))
    assert "of step 20" in words["views-run"]
    assert "75 % of 4 patches" in words["masks-run"]
    assert "given back from the true patch" in words["reconstruction-run"]
    assert "8 of 12 heads" in words["attention-run"]
    assert "40 images" in words["neighbors-run"]
    assert "5 strongest of 9" in words["filters-run"]
    assert "largest norm is VH" in inside.pictures[-1].alt
    assert all(p.alt for p in inside.pictures)


@pytest.mark.parametrize(("views", "columns"), [(2, 2), (5, 5)])
def test_many_views_are_side_by_side_and_few_below_each_other(run, views, columns):
    """Two samples: columns of a figure are samples for pairs, and views for multi-crop."""
    recording(run, views=views, drop=("masks", "reconstruction", "attention", "neighbors", "filters"))

    (inside,) = inside_runs([read_run(run)], [])

    figure = ET.fromstring(inside.pictures[0].svg)
    texts = [e.text for e in figure.iter("{http://www.w3.org/2000/svg}text")]
    assert len([t for t in texts if t and t.startswith("view ")]) == views
    assert columns == (2 if views == 2 else views)


def test_what_is_absent_has_its_reason_on_both_pages(report):
    """Nothing is left out silently, and a reason from a record is text."""
    page, document = ((report[1] / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))

    for text in ("Does not apply: resnet18 is a residual network.", "Not recorded."):
        assert text in page
        assert text in document
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert json.loads((report[1] / "results.json").read_text())["runs"][0]["not_recorded"] == REASONS


def test_a_run_that_nobody_recorded_is_told(run):
    """With the way to get it; a config that cannot be read back is told too."""
    (run / "insight.npz").unlink()
    missing = []

    assert inside_runs([read_run(run)], missing) == ()
    assert "--archive" in missing[0]

    recording(run, absent={"everything": "config.json tells no run"}, drop=("",))
    assert inside_runs([read_run(run)], missing) == ()
    assert "config.json tells no run" in missing[1]


def test_other_images_and_notes_are_told(run):
    """What is shown is said not to be what the run saw."""
    recording(
        run, same_data=False, notes=["the backbone alone"], drop=("views", "masks", "recon", "attention", "neigh")
    )

    (inside,) = inside_runs([read_run(run)], [])

    assert "not those that the run was trained on" in inside.lead
    assert "the backbone alone" in inside.lead


@pytest.mark.parametrize(
    "changes",
    [
        {"views.0": np.zeros((2, 8, 8, 3), np.uint8)},
        {"views.0": np.zeros((2, 3, 8, 8, 3), np.uint8)},
        {"attention.own": np.zeros((3, 12))},
        {"drop": ("attention.own",)},
        {"step": "many"},
        {"notes": "none"},
        {"absent": ["attention"]},
        {"views.ids": np.array([{}, {}], dtype=object)},
    ],
)
def test_malformed_recordings_are_refused_by_name(run, changes):
    """Shapes, kinds, rows that differ, pickles."""
    recording(run, **changes)

    with pytest.raises(SourceInvalid, match=r"insight\.npz"):
        read_insight(run / "insight.npz")


def test_a_recording_that_is_none_is_refused(run):
    """Cut short, or without its record; the remedy is to remove it."""
    whole = (run / "insight.npz").read_bytes()
    (run / "insight.npz").write_bytes(whole[:500])
    with pytest.raises(SourceInvalid, match="remove it"):
        read_run(run)
    np.savez(run / "insight.npz", masks=np.zeros((1, 4)))
    with pytest.raises(SourceInvalid, match="remove it"):
        read_run(run)


def test_two_reports_of_one_run_are_the_same_bytes(report):
    """Page, figures and results; SVG has letters as text, no date, and nothing from outside."""
    run, out = report
    first = _written(out)

    write_report([run], out)

    assert _written(out) == first
    for name, written in first.items():
        if name.suffix != ".svg":
            continue
        text = written.decode()
        assert name.with_suffix(".png") in first
        assert "<text" in text
        assert "dc:date" not in text
        assert "Matplotlib" not in text
        links = [v for e in ET.fromstring(text).iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith(("data:image/png", "#")) for link in links)
    curves = first[next(n for n in first if n.name == "curves-run.svg")].decode()
    assert "Learning rate" in curves
    assert EVIL not in curves


def test_the_policy_of_a_page_allows_its_own_style_only(report):
    """The hash is that of the style as it stands; no script, no style attribute, headings without a gap."""
    page = (report[1] / "report.html").read_text(encoding="utf-8")

    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in page
    assert " style=" not in page
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(scope in ("col", "row") for scope in re.findall(r"<th(?: scope=\"(\w+)\")?[ >]", page))
    assert re.search(r"<summary>Resolved config, 2 options</summary>", page)


def test_pictures_of_a_page_keep_to_their_budget(monkeypatch):
    """Noise of 600 KB each: as WebP, coarser until they fit; a light drawing stays PNG."""
    random = np.random.default_rng(0)
    noisy = png(
        tiles_figure(
            [Row("r", [Tile(random.integers(0, 255, (200, 200, 3)).astype(np.uint8))])],
            ["c"],
            synthetic=False,
            largest=4.0,
        )
    )
    plain = png(tiles_figure([Row("r", [Tile(np.zeros((4, 4, 3), np.uint8))])], ["c"], synthetic=False))
    pictures = [Picture(str(n), noisy, b"", "a", "c", synthetic=False) for n in range(4)]
    pictures.append(Picture("plain", plain, b"", "a", "c", synthetic=False))
    monkeypatch.setattr(inline, "BUDGET", 300_000)

    found = inlined(pictures)

    assert sum(map(len, found.values())) < 1.4 * 300_000
    assert found["plain"].startswith("data:image/png")
    assert found["0"].startswith("data:image/webp")


def test_a_log_that_was_cut_in_the_middle_of_a_line_is_told(run):
    """Also in the middle of a letter; what was whole counts. A bad line before the end is an error with its number."""
    log = run / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"kind": "step", "st\xc3')

    missing = []

    curve_pictures([read_run(run)], (), missing)

    assert "was cut short" in missing[0]
    assert len(read_log(log).steps) == 2
    log.write_bytes(whole + b'{"kind": "st\xc3\n' + whole)
    with pytest.raises(SourceInvalid, match="line 4 of"):
        read_run(run)
    log.write_bytes(whole)
    assert not read_log(log).is_cut


def test_momentum_probes_and_divergence_are_read(run):
    """What newer logs have is drawn and told; an accuracy beyond one is an error with its line."""
    rows = [
        step_row(1, 1.0) | {"ema_momentum": 0.99, "rankme": 3.0, "waiting_share": 0.1},
        {"kind": "probe", "step": 1, "epoch": 1.0, "accuracy": 0.5, "task": "validation", "protocol": "linear"},
        {"kind": "diverged", "step": 2, "epoch": 1.0, "loss": "nan", "index": [0], "ids": ["a"]},
    ]
    write_lines(run / "log.jsonl", rows)

    log = read_log(run / "log.jsonl")

    assert (log.steps[0].ema_momentum, log.probes[0].protocol, log.diverged) == (0.99, "linear", 2)
    assert "weights were not finite" in content._record(read_run(run)).alarms[0]
    titles = [axes.get_title(loc="left") for axes in curves_figure(log, synthetic=False).axes]
    assert "Momentum of the averaged network" in titles
    write_lines(run / "log.jsonl", [*rows, rows[1] | {"accuracy": 50}])
    with pytest.raises(SourceInvalid, match="line 4 of"):
        read_log(run / "log.jsonl")


def _classified(path, **changes):
    """Write a score of three classes: 8 of 10, 5 of 5 and 0 of 0 right."""
    classes, confusion = ["field", "town", "lake"], [[8, 2, 0], [0, 5, 0], [0, 0, 0]]
    by_class = {"recall": {"field": 0.8, "town": 1.0, "lake": None}}
    row = score_row(0.8, pretrained=True, classes=classes, confusion=confusion, by_class=by_class, **changes)
    write_lines(path / "scores.jsonl", [row, score_row(0.9)])
    return read_run(path)


def test_classes_are_tabled_as_worked_by_hand(tmp_path):
    """Counts 10, 5, 0; recall as recorded; precision 8 of 8, 5 of 7, none of none."""
    (table,) = tables_by_class([_classified(tmp_path)])

    assert table.columns == ("Count", "Recall", "Precision")
    assert table.rows == (
        ("field", "10", "80.0", "100.0"),
        ("town", "5", "100.0", "71.4"),
        ("lake", "0", "\u2013", "\u2013"),
    )
    assert class_tables([[]]) == ()


def test_items_that_were_wrong_and_right_are_drawn(tmp_path):
    """With the name of the class and what it was taken for; classes that do not exist are refused."""
    values = {
        "images": np.zeros((3, 1, 8, 8, 3), np.uint8),
        "truths": np.array([0, 1, 1]),
        "predicted": np.array([1, 1, 0]),
        "ids": np.array(["a", "b", "c"]),
        "classes": np.array(["field", "town"]),
    }
    np.savez(tmp_path / "answers.npz", **values)
    run = _classified(tmp_path, examples="answers.npz")

    pictures = {p.name: p for p in judgement_pictures([run], [])}

    answers = pictures["answers-scenes-knn"]
    texts = [e.text for e in ET.fromstring(answers.svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"wrong", "right", "taken for town", "taken for field"} <= set(texts)
    assert "2 test items" in answers.alt
    np.savez(tmp_path / "answers.npz", **{**values, "predicted": np.array([1, 1, 2])})
    with pytest.raises(SourceInvalid, match="not of its 2"):
        judgement_pictures([run], [])


def test_every_task_with_features_has_a_projection_up_to_a_bound(tmp_path):
    """Nine tasks: eight are drawn, the ninth is named; the file of the first keeps its name."""
    write_features(tmp_path / "f.npz", count=6)  # too few for t-SNE: quick
    rows = [score_row(0.5, task=f"task{n}", pretrained=True, features="f.npz") for n in range(9)]
    write_lines(tmp_path / "scores.jsonl", rows)
    missing = []

    pictures = projection_pictures([read_run(tmp_path)], None, missing)

    assert [p.name for p in pictures][:2] == ["projection", "projection-task1-blocks"]
    assert len(pictures) == 8
    assert "task8" in missing[0]
