# SPDX-License-Identifier: Apache-2.0
"""Pictures of judgements: maps, confusion, course; files that are none are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from report_records import score_row, write_lines

from ssl4eo.errors import SourceInvalid
from ssl4eo.report.illustrations import judgement_pictures
from ssl4eo.report.predictions import read_examples
from ssl4eo.report.records import read_run
from ssl4eo.report.write import write_report

CURVE = [{"epoch": n, "loss": 1.0 / n, "validation": 0.5 + 0.1 * n} for n in (1, 2, 3)]


def examples(**changes):
    """Two items of two dates."""
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 2, (2, 8, 8)).astype(np.uint8)
    truths[:, 0] = 255
    values = {
        "images": rng.integers(0, 255, (2, 2, 8, 8, 3)).astype(np.uint8),
        "truths": truths,
        "predicted": 1 - truths.clip(0, 1),
        "ids": np.array(["a", "b"]),
        "classes": np.array(["no change", "change"]),
    }
    return values | changes


@pytest.fixture
def run(tmp_path):
    """A change detection with its maps, and a fine-tuning of two networks."""
    np.savez(tmp_path / "maps.npz", **examples())
    classes, confusion = ["no change", "change"], [[40, 2], [3, 11]]
    change = score_row(
        0.7, protocol="change", metric="f1", task="squares", examples="maps.npz", confusion=confusion, classes=classes
    )
    tuned = [
        score_row(0.6, protocol="finetune", curve=CURVE, pretrained=p, num_train=10, checkpoint=c)
        for p, c in ((False, "random.resnet18.s2l1c"), (True, "runs/a"))
    ]
    write_lines(tmp_path / "scores.jsonl", [change, *tuned])
    return tmp_path


def test_everything_recorded_is_drawn_once(run):
    """Maps, their confusion, and one course for both networks."""
    missing = []

    pictures = judgement_pictures([read_run(run)], missing)

    assert [p.name for p in pictures] == ["course-scenes-finetune", "maps-squares-change", "confusion-squares-change"]
    assert not missing
    assert all(p.synthetic and "Synthetic data." in p.caption for p in pictures)
    assert "f1 70.0 %" in pictures[1].caption
    for picture in pictures:
        with Image.open(io.BytesIO(picture.png)) as image:
            assert np.asarray(image.convert("L")).std() > 5  # not blank


def test_pages_have_the_pictures(run, tmp_path):
    """Both of them, with their words."""
    write_report([run], tmp_path / "out")

    assert (tmp_path / "out" / "figures" / "maps-squares-change.png").is_file()
    for name in ("report.md", "report.html"):
        assert "What was predicted" in (tmp_path / "out" / name).read_text()


def test_absent_maps_are_told(run):
    """And the rest is drawn."""
    (run / "maps.npz").unlink()
    missing = []

    pictures = judgement_pictures([read_run(run)], missing)

    assert len(pictures) == 2
    assert "maps.npz is named in scores.jsonl but absent" in missing[0]


@pytest.mark.parametrize(
    "changes",
    [{"images": np.zeros((2, 8, 8, 3))}, {"truths": np.zeros((2, 4, 4))}, {"truths": None}, {"predicted": None}],
)
def test_files_that_are_no_examples_are_refused(changes, tmp_path):
    """Arrays that are missing or do not fit."""
    values = {name: value for name, value in examples(**changes).items() if value is not None}
    np.savez(tmp_path / "a.npz", **values)

    with pytest.raises(SourceInvalid):
        read_examples(tmp_path / "a.npz")


def test_files_that_are_none_are_refused(tmp_path):
    """Text, and a pickle in an array."""
    (tmp_path / "a.npz").write_text("maps")
    with pytest.raises(SourceInvalid):
        read_examples(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **examples(ids=np.array([{}, {}], dtype=object)))
    with pytest.raises(SourceInvalid):
        read_examples(tmp_path / "b.npz")
