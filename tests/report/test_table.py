# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from report_records import config_json, score_row, write_run

from ssl4eo.report.records import read_run
from ssl4eo.report.table import Summary, results_table
from ssl4eo.report.wording import headline, primary_row


def _table(tmp_path, scores, **records):
    return results_table([read_run(write_run(tmp_path / "run", scores=scores, **records))])


def test_means_and_spreads_are_the_hand_worked_ones(tmp_path):
    """Of 0.4, 0.5, 0.6 the mean is 0.5 and the sample standard deviation 0.1; of 0.7, 0.9 it is 0.8 and sqrt(0.02)."""
    before = [score_row(v, seed=i) for i, v in enumerate((0.4, 0.5, 0.6))]
    after = [score_row(v, seed=i, pretrained=True) for i, v in enumerate((0.7, 0.9))]

    (row,) = _table(tmp_path, [*before, *after])

    assert row.untrained is not None
    assert row.pretrained is not None
    assert row.untrained.mean == pytest.approx(0.5, rel=1e-12)
    assert row.untrained.spread == pytest.approx(0.1, rel=1e-12)
    assert row.pretrained.mean == pytest.approx(0.8, rel=1e-12)
    assert row.pretrained.spread == pytest.approx(0.02**0.5, rel=1e-12)
    assert row.difference == pytest.approx(30.0, rel=1e-12)
    assert row.synthetic


def test_one_score_has_no_spread():
    """With n = 1 there is nothing to spread, and zero would claim certainty."""
    assert Summary((0.4,), (0,), 1).spread is None
    assert Summary((0.4, 0.4), (0, 1), 1).spread == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"split": "random"},
        {"num_test": 41},
        {"num_train": 3},
        {"backbone": "resnet50"},
        {"protocol": "linear"},
        {"metric": "f1"},
        {"part": "val"},
        {"split_sha256": "another list of items"},
    ],
)
def test_scores_of_another_protocol_are_never_compared(tmp_path, change):
    """A pre-trained score stands alone if anything but the weights differs."""
    rows = _table(tmp_path, [score_row(0.5), score_row(0.7, pretrained=True, **change)])

    assert len(rows) == 2
    assert all(row.difference is None for row in rows)


def test_two_checkpoints_of_one_run_are_two_rows_with_the_same_baseline(tmp_path):
    """An early and a late checkpoint must not be averaged."""
    scores = [
        score_row(0.5),
        score_row(0.6, pretrained=True, checkpoint="early.safetensors"),
        score_row(0.8, pretrained=True, checkpoint="late.safetensors"),
    ]

    rows = _table(tmp_path, scores, config=config_json())

    assert sorted(row.difference for row in rows) == pytest.approx([10.0, 30.0])


def test_seeds_of_pre_training_in_several_runs_share_a_row(tmp_path):
    """Runs of one recipe that differ in seed only are repetitions; other configs are not."""
    runs = []
    for name, seed, epochs, value in (("a", 0, 2, 0.6), ("b", 1, 2, 0.8), ("c", 0, 9, 0.9)):
        config = {**config_json(), "config": {"seed": seed, "epochs": epochs}}
        runs.append(write_run(tmp_path / name, config=config, scores=[score_row(value, pretrained=True, seed=seed)]))

    rows = results_table([read_run(path) for path in runs])

    assert [row.pretrained.values for row in rows if row.pretrained] == [(0.6, 0.8), (0.9,)]
    assert [row.pretrained.num_checkpoints for row in rows if row.pretrained] == [2, 1]


def test_runs_scored_in_a_folder_of_their_own_are_found_by_the_checkpoint(tmp_path):
    """Scores of two runs of one recipe, named by run folder and by file, share a row."""
    scores = []
    for seed, name, value in ((0, "a", 0.6), (1, "b/backbone.safetensors", 0.8)):
        run = write_run(tmp_path / name[0], config={**config_json(), "config": {"engine": {"seed": seed}}})
        (run / "backbone.safetensors").touch()
        scores.append(score_row(value, pretrained=True, seed=seed, checkpoint=str(tmp_path / name)))

    (row,) = _table(tmp_path, scores)

    assert row.experiment == "moco_v2.resnet18.s2l1c"
    assert row.pretrained == Summary((0.6, 0.8), (0, 1), 2)


def test_the_same_weights_scored_under_two_names_count_once(tmp_path):
    """The checksum says that a run folder and its file are one network."""
    first = score_row(0.6, pretrained=True, checkpoint="a", checkpoint_sha256="f00")
    second = score_row(0.6, pretrained=True, checkpoint="a/backbone.safetensors", checkpoint_sha256="f00")

    (row,) = _table(tmp_path, [first, second])

    assert row.pretrained == Summary((0.6,), (0,), 1)


def test_an_untrained_network_scored_in_two_runs_counts_once(tmp_path):
    """Its name and seed say which network it is; the later measurement counts."""
    late = "2026-04-01T10:00:00+00:00"
    first = write_run(tmp_path / "a", scores=[score_row(0.6, time=late)])
    second = write_run(tmp_path / "b", scores=[score_row(0.5), score_row(0.7, seed=1)])

    (row,) = results_table([read_run(first), read_run(second)])

    assert row.untrained == Summary((0.6, 0.7), (0, 1), 1)


def test_untrained_networks_of_another_input_are_no_baseline(tmp_path):
    """Radar and optical networks of the same architecture are two baselines."""
    scores = [
        score_row(0.3, checkpoint="random.resnet18.s1grd"),
        score_row(0.5, checkpoint="random.resnet18.s2l1c"),
        score_row(0.7, pretrained=True),
    ]

    (row,) = _table(tmp_path, scores, config=config_json())

    assert row.untrained == Summary((0.5,), (0,), 1)


def test_inputs_that_cannot_be_told_apart_give_no_baseline_and_say_so(tmp_path):
    """A checkpoint whose name hides its input is compared with nothing rather than with both."""
    scores = [
        score_row(0.3, checkpoint="random.resnet18.s1grd"),
        score_row(0.5, checkpoint="random.resnet18.s2l1c"),
        score_row(0.7, pretrained=True, checkpoint="weights.safetensors"),
    ]

    (row,) = _table(tmp_path, scores)

    assert row.untrained is None
    assert "several inputs (s1grd, s2l1c)" in row.notes[0]


def test_settings_that_differ_are_said(tmp_path):
    """A probe may choose its own regularization, but the reader must know."""
    (row,) = _table(
        tmp_path,
        [
            score_row(0.5, settings={"k": 20, "tried": [1]}),
            score_row(0.7, pretrained=True, settings={"k": 5, "tried": [2]}),
        ],
    )

    assert row.notes == ("k differs between scores: 5, 20",)


def _headline(tmp_path, before, after, **change):
    scores = [score_row(v, seed=i, **change) for i, v in enumerate(before)]
    scores += [score_row(v, seed=i, pretrained=True, **change) for i, v in enumerate(after)]
    row = primary_row(_table(tmp_path, scores))
    assert row is not None
    return headline(row)


def test_the_headline_says_numbers_spread_and_synthetic(tmp_path):
    """The sentence is made of measured values only."""
    text = _headline(tmp_path, (0.4, 0.5, 0.6), (0.7, 0.8, 0.9))

    assert text == (
        "k-NN on the test part of scenes (synthetic data): 80.0 % pre-trained against 50.0 % untrained, +30.0 points "
        "(means of 3 seeds each, standard deviations 10.0 and 10.0)."
    )


def test_the_headline_weakens_what_is_weak(tmp_path):
    """One seed, a difference within the spread, and a loss are each said."""
    assert "1 seed, so no spread over seeds" in _headline(tmp_path / "a", (0.4,), (0.5,))
    single = _headline(tmp_path / "d", (0.4,), (0.5,), interval=[0.35, 0.55])
    assert "95 % interval over test items 35.0 to 55.0" in single
    assert "no larger than the spread" in _headline(tmp_path / "b", (0.2, 0.8), (0.3, 0.9))
    worse = _headline(tmp_path / "c", (0.8, 0.81), (0.3, 0.31), synthetic=False)
    assert "Pre-training lowered this score." in worse
    assert "\u221250.0 points" in worse
    assert "synthetic" not in worse


def test_the_headline_prefers_k_nn_and_needs_both_sides(tmp_path):
    """k-NN has no hyper-parameter to be tuned in favor of one side."""
    both = [score_row(0.1, protocol=p, pretrained=s) for p in ("linear", "knn") for s in (False, True)]

    row = primary_row(_table(tmp_path / "a", both))

    assert row is not None
    assert row.protocol == "knn"
    assert primary_row(_table(tmp_path / "b", [score_row(0.1)])) is None


def test_notes_of_scores_stand_in_their_row_once(tmp_path):
    """What whoever reads the value must know, not repeated for each seed."""
    scores = [score_row(0.5, seed=i, notes=["left out: 3 items"]) for i in (0, 1)]

    (row,) = _table(tmp_path, scores)

    assert row.notes == ("left out: 3 items",)
