# SPDX-License-Identifier: Apache-2.0
"""The published table with measured values beside it."""

from __future__ import annotations

import json

from report_records import score_row, write_lines

from ssl4eo.report.published import cell_words, published_rows
from ssl4eo.report.records import read_run
from ssl4eo.report.table import results_table
from ssl4eo.report.write import write_report

NAME = "moco_v2.resnet50.s2l1c"


def row(value, **changes):
    known = {"checkpoint": NAME, "task": "eurosat_13", "split": "reference"}
    known |= {"protocol": "finetune_as_published", "pretrained": True}
    return score_row(value, **(known | changes))


def rows_of(tmp_path, *lines):
    (tmp_path / "run").mkdir(exist_ok=True)
    write_lines(tmp_path / "run" / "scores.jsonl", list(lines))
    return published_rows([read_run(tmp_path / "run")])


def test_measured_values_stand_beside_the_published_ones(tmp_path):
    """99.1 % published of MoCo on EuroSAT: 98.8 is within half a point, 97 is not; other cells stay empty."""
    rows = rows_of(tmp_path, row(0.988, interval=[0.985, 0.991]), row(0.95, protocol="linear"))

    (cell,) = (c for c in next(r for r in rows if r.checkpoint == NAME).cells if c.column.title == "EuroSAT")
    assert (cell.published, round(cell.measured, 6), cell.verdict) == (99.1, 98.8, "reproduced")
    assert cell_words(cell) == ("99.1 / 98.8", "\u22120.3, reproduced within 0.5; linear 95.0")
    others = [c for r in rows for c in r.cells if c is not cell]
    assert len(rows) == 6
    assert all(c.verdict == "not measured" for c in others)
    (wrong,) = (c for c in rows_of(tmp_path, row(0.97))[0].cells if c.column.title == "EuroSAT")
    assert cell_words(wrong)[1].startswith("\u22122.1, differs by more than 0.5")


def test_shortened_and_partial_runs_are_no_reproduction(tmp_path):
    """A quick look or a tenth of the labels is another measurement; nor is another network's."""
    assert not rows_of(tmp_path, row(0.988, settings={"epochs_asked": 2}))
    assert not rows_of(tmp_path, row(0.988, fraction=0.1))
    assert not rows_of(tmp_path, row(0.988, checkpoint="runs/mine"))
    other_split = rows_of(tmp_path, row(0.988, split="torchgeo"))
    assert all(cell.measured is None for line in other_split for cell in line.cells)


def test_both_pages_show_it(tmp_path):
    """With why each tolerance is what it is."""
    rows_of(tmp_path, row(0.988))

    write_report([tmp_path / "run"], tmp_path / "out")

    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "Beside the published table" in text
        assert "99.1 / 98.8" in text
        assert "best epoch on the reported part" in text
    assert json.loads((tmp_path / "out" / "results.json").read_text())


def test_a_fraction_and_a_quick_look_do_not_replace_the_whole(tmp_path):
    """They are measurements of their own, in the records and in the table."""
    (tmp_path / "run").mkdir()
    lines = [row(0.988), row(0.9, fraction=0.1, num_train=3), row(0.5, settings={"epochs_asked": 1})]
    write_lines(tmp_path / "run" / "scores.jsonl", lines)
    run = read_run(tmp_path / "run")

    assert sorted(score.value for score in run.scores) == [0.5, 0.9, 0.988]
    assert len(results_table([run])) == 3
    assert cell_words(published_rows([run])[0].cells[1])[0] == "99.1 / 98.8"


def test_a_split_that_was_not_whole_is_no_reproduction(tmp_path):
    """It is a measurement of its own."""
    rows = rows_of(tmp_path, row(0.988, num_absent=3), row(0.5, protocol="linear"))

    assert rows[0].cells[1].measured is None


def test_what_was_left_out_is_shown_with_the_way_to_get_it(tmp_path):
    """Reasons once each; a ledger alone is a record, and its published networks have a table of empty cells."""
    (tmp_path / "run").mkdir()
    known = {"task": "eurosat_13", "split": "reference", "found": "no <data> of EuroSAT", "remedy": "ssl4eo download"}
    lines = [
        {**known, "checkpoint": name, "protocol": p, "items": []} for name in (NAME, "mine") for p in ("knn", "linear")
    ]
    lines.append({"task": "oscd", "split": "reference", "found": "no rio", "remedy": "unpack it", "items": ["rio"]})
    write_lines(tmp_path / "run" / "skipped.jsonl", lines)

    write_report([tmp_path / "run"], tmp_path / "out")

    page, text = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    assert page.count("no &lt;data&gt; of EuroSAT") == 1
    for shown in (page, text):
        assert "What was left out" in shown
        assert "oscd, split reference: 1 item" in shown.replace("\\", "")
        assert f"knn, linear of {NAME}, mine" in shown.replace("\\", "")
        assert "Beside the published table" in shown
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["remedy"] for row in results["left_out"]] == ["ssl4eo download", "unpack it"]


def test_another_size_or_less_than_the_published_data_is_no_reproduction(tmp_path):
    """24 tiles of EuroSAT, or pictures of 64 px, say nothing of a number of 5,400 tiles at 224 px."""
    few = rows_of(tmp_path, row(0.988, is_whole=False), row(0.5, protocol="linear"))
    assert few[0].cells[1].measured is None
    small = rows_of(tmp_path, row(0.988, settings={"image_size": 64}), row(0.5, protocol="linear"))
    assert small[0].cells[1].measured is None
    own = rows_of(tmp_path, row(0.988, settings={"image_size": 224}))
    assert own[0].cells[1].verdict == "reproduced"


def test_measurements_at_two_sizes_or_of_two_lists_are_two(tmp_path):
    """Neither replaces the other, in the records and in the table."""
    (tmp_path / "run").mkdir()
    lines = [
        row(0.1 * i, settings={"image_size": size}, train_sha256=learned)
        for i, (size, learned) in enumerate([(32, "a"), (64, "a"), (64, "b")])
    ]
    write_lines(tmp_path / "run" / "scores.jsonl", lines)
    run = read_run(tmp_path / "run")

    assert len(run.scores) == 3
    assert len(results_table([run])) == 3
