# SPDX-License-Identifier: Apache-2.0
"""A suite: what is there is judged once, what is not is told with the way to get it."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from ssl4eo.cli import main
from ssl4eo.collection.eurosat import CLASSES
from ssl4eo.errors import UnknownName
from ssl4eo.evaluation import suite as module
from ssl4eo.evaluation.columns import EXTRA_TASKS, PUBLISHED_TASKS
from ssl4eo.evaluation.ledger import Skipped, update_ledger
from ssl4eo.evaluation.names import ProtocolName
from ssl4eo.evaluation.protocols.table import PROTOCOLS
from ssl4eo.evaluation.suite import SUITES, Judgement, run_suite
from ssl4eo.evaluation.tasks.table import TASKS
from ssl4eo.files import read_jsonl

RGB, OPTICAL = "random.resnet18.s2rgb", "random.resnet18.s2l1c"


@pytest.fixture
def roots(tmp_path):
    """EuroSAT of 100 synthetic tiles, and nothing else."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "data" / "eurosat" / name).mkdir(parents=True)
        for number in range(10):
            values = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(values).save(tmp_path / "data" / "eurosat" / name / f"{name}_{number}.jpg")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def small_views(monkeypatch):
    """Networks see 32 px, so that a suite takes seconds."""
    monkeypatch.setattr(module, "load_network", partial(module.load_network, image_size=32))


@pytest.fixture
def small(monkeypatch):
    """A suite of five cells, two of which can be judged."""
    rows = (
        Judgement(RGB, "eurosat", "reference", "knn"),
        Judgement(OPTICAL, "eurosat", "reference", "knn"),
        Judgement(RGB, "so2sat_s2", "reference", "knn"),
        Judgement("no.such.network", "eurosat", "reference", "knn"),
        Judgement(RGB, "eurosat", "reference", "linear"),
    )
    monkeypatch.setattr(module, "SUITES", {"small": rows})


def test_what_can_be_judged_is_and_the_rest_is_told(small, roots, tmp_path):
    """Another sensor, missing data, a missing network: each with its remedy; a second call judges nothing again."""
    scores, skipped = run_suite("small", roots, tmp_path / "out")

    assert [(s.checkpoint, s.protocol) for s in scores] == [(RGB, "knn"), (RGB, "linear")]
    assert [(s.checkpoint, s.task) for s in skipped] == [
        (OPTICAL, "eurosat"),
        (RGB, "so2sat_s2"),
        ("no.such.network", "eurosat"),
    ]
    assert "ssl4eo download so2sat-v2" in skipped[1].remedy
    ledger = list(read_jsonl(tmp_path / "out" / "skipped.jsonl"))
    assert ledger == [row.to_json() for row in skipped]

    again, still = run_suite("small", roots, tmp_path / "out")

    assert (again, len(still)) == ([], 3)
    assert len(list(read_jsonl(tmp_path / "out" / "scores.jsonl"))) == 2


def test_what_has_come_meanwhile_leaves_the_ledger(small, roots, tmp_path, monkeypatch):
    """A network that could not be opened can be now; rows of other matters stay."""
    other = Skipped("oscd", "reference", "no rio", "unpack it", items=("rio",))
    update_ledger(tmp_path / "out", [other])
    run_suite("small", roots, tmp_path / "out")
    real = module.load_network
    monkeypatch.setattr(
        module, "load_network", lambda name, **options: real(name.replace("no.such.network", RGB), **options)
    )

    scores, skipped = run_suite("small", roots, tmp_path / "out")

    ledger = list(read_jsonl(tmp_path / "out" / "skipped.jsonl"))
    assert len(scores) == 1
    assert ledger == [row.to_json() for row in (other, *skipped)]


def test_a_killed_suite_leaves_its_ledger(small, roots, tmp_path, monkeypatch):
    """Rows are written as they come."""

    def die(*_, **__):
        raise KeyboardInterrupt

    module.SUITES["small"] = module.SUITES["small"][1:]
    monkeypatch.setattr(module, "evaluate", die)
    with pytest.raises(KeyboardInterrupt):
        run_suite("small", roots, tmp_path / "out")

    assert [row["checkpoint"] for row in read_jsonl(tmp_path / "out" / "skipped.jsonl")] == [
        OPTICAL,
        RGB,
        "no.such.network",
    ]


def test_a_split_that_is_not_whole_is_judged_on_request_and_told(tmp_path, roots, monkeypatch, capsys):
    """The score and the ledger say so; without the request, and when all is there, it is judged anew."""
    home = roots / "eurosat"
    for word, numbers in (("train", range(6)), ("val", (6, 7)), ("test", (8, 9, 10))):
        lines = [f"{name}_{i}.jpg\n" for name in CLASSES for i in numbers]
        (home / f"eurosat-{word}.txt").write_text("".join(lines))
    rows = (Judgement(RGB, "eurosat", "torchgeo", "knn"),)
    monkeypatch.setattr(module, "SUITES", {"small": rows})
    out = tmp_path / "out"

    assert run_suite("small", roots, out)[0] == []
    (score,), _ = run_suite("small", roots, out, skip_missing=True)
    assert (score.num_absent, score.num_test) == (10, 20)
    assert run_suite("small", roots, out, skip_missing=True)[0] == []
    (row,) = read_jsonl(out / "skipped.jsonl")
    assert (row["task"], row["checkpoint"], len(row["items"])) == ("eurosat", "", 10)

    command = ["evaluate", "--checkpoint", RGB, "--task", "eurosat", "--root", str(home), "--split", "torchgeo"]
    command += ["--image_size", "32"]
    assert main([*command, "--protocol", "knn", "--out", str(tmp_path / "one")]) == 1
    assert "or judge on what is there: --skip-missing" in capsys.readouterr().err
    assert main([*command, "--protocol", "knn", "--skip-missing", "--out", str(tmp_path / "one")]) == 0
    assert "left out" in capsys.readouterr().err
    for name in CLASSES:
        shutil.copyfile(home / name / f"{name}_9.jpg", home / name / f"{name}_10.jpg")
    (score,), _ = run_suite("small", roots, out)
    assert (score.num_absent, score.num_test) == (0, 30)
    assert not (out / "skipped.jsonl").exists()


def test_published_suite_is_the_published_table():
    """Six networks, three tasks, the published protocol and two others; every name is known."""
    rows = SUITES["published"]

    assert len(rows) == 6 * (3 * 3 + 3 * 2)
    extra = {row.task for row in EXTRA_TASKS}
    assert {row.task for row in rows} == {column.task for column in PUBLISHED_TASKS} | extra <= TASKS.keys()
    assert all(row.published is None for row in rows if row.task in extra)
    assert all(p in PROTOCOLS for row in EXTRA_TASKS for p in row.protocols)
    assert all(column.split in TASKS[column.task].splits for column in PUBLISHED_TASKS)
    published = {(r.checkpoint, r.task): r.published for r in rows if r.published is not None}
    assert published["data2vec.vit_small_16.s2l1c", "so2sat_s2"] == pytest.approx(0.648)
    assert len(published) == 18


def test_unknown_suites_are_refused(tmp_path):
    """With those that there are."""
    with pytest.raises(UnknownName, match="published"):
        run_suite("all", tmp_path, tmp_path)


def test_command_tells_what_is_missing(small, roots, tmp_path, capsys):
    """Each reason once, on standard error; a suite has its own checkpoints."""
    out = str(tmp_path / "out")
    assert main(["evaluate", "--suite", "small", "--root", str(roots), "--out", out, "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert [row["protocol"] for row in told["scores"]] == ["knn", "linear"]
    assert len(told["skipped"]) == 3
    assert "3 left out" in captured.err
    assert "ssl4eo download so2sat-v2" in captured.err
    assert main(["evaluate", "--suite", "small", "--root", str(roots), "--out", out, "--checkpoint", RGB]) == 2
    assert "a suite has its own" in capsys.readouterr().err
    for option in (["--fraction", "0.1"], ["--image_size", "32"], ["--split", "torchgeo"], ["--untrained"]):
        assert main(["evaluate", "--suite", "small", "--root", str(roots), "--out", out, *option]) == 2
        assert f"{option[0]} with --suite" in capsys.readouterr().err
    nothing = ["evaluate", "--suite", "small", "--root", str(tmp_path / "none"), "--out", str(tmp_path / "o")]
    assert main(nothing) == 1
    assert main(["evaluate", "--root", str(roots), "--out", out]) == 2
    assert "--checkpoint and --task, or --suite" in capsys.readouterr().err


def test_fraction_and_seeds_of_training_reach_the_score(roots, tmp_path, capsys):
    """A tenth of nothing is refused elsewhere; half of the labels is noted."""
    common = ["--checkpoint", RGB, "--task", "eurosat", "--root", str(roots / "eurosat"), "--image_size", "32"]
    assert main(["evaluate", *common, "--out", str(tmp_path / "a"), "--fraction", "0.5", "--protocol", "knn"]) == 0
    (row,) = read_jsonl(tmp_path / "a" / "scores.jsonl")
    assert row["num_train"] == 40
    assert any("0.5 of the training part (corrected" in note for note in row["notes"])
    extra = ["--protocol", "finetune", "--epochs", "1", "--seeds", "1", "2"]
    assert main(["evaluate", *common, "--out", str(tmp_path / "b"), *extra]) == 0
    rows = list(read_jsonl(tmp_path / "b" / "scores.jsonl"))
    assert [(r["protocol"], r["seed"], len(r["curve"])) for r in rows] == [("finetune", 1, 1), ("finetune", 2, 1)]


def test_names_on_the_command_line_are_those_of_the_table():
    """None is missing there, none leads nowhere."""
    assert get_args(ProtocolName) == tuple(PROTOCOLS)


def test_less_than_the_published_data_is_judged_anew_when_more_is_there(roots, tmp_path, monkeypatch):
    """100 of 27,000 pictures are not the whole; the same ones are not judged again."""
    monkeypatch.setattr(module, "SUITES", {"small": (Judgement(RGB, "eurosat", "reference", "knn"),)})
    (score,), _ = run_suite("small", roots, tmp_path / "out")
    assert not score.is_whole
    assert "100 of 27,000 pictures of EuroSAT: not the score of the whole set" in score.notes
    assert run_suite("small", roots, tmp_path / "out")[0] == []

    for name in CLASSES:
        shutil.copyfile(roots / "eurosat" / name / f"{name}_1.jpg", roots / "eurosat" / name / f"{name}_77.jpg")

    assert len(run_suite("small", roots, tmp_path / "out")[0]) == 1
