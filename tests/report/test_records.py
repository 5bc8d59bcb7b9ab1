# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from report_records import config_json, knn_row, score_row, step_row, write_lines, write_run

from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.report.records import read_config, read_log, read_run, read_scores


def test_a_folder_without_any_record_is_refused(tmp_path):
    """An archive or a mistyped folder is no run."""
    with pytest.raises(DataMissing, match="no record of a run"):
        read_run(write_run(tmp_path / "empty"))


def test_a_folder_that_is_absent_is_an_error(tmp_path):
    """A mistyped run is not an empty run."""
    with pytest.raises(DataMissing, match="no run folder"):
        read_run(tmp_path / "nowhere")


def test_of_repeated_steps_the_last_row_counts(tmp_path):
    """A resume writes the same steps again, and the report shows each once, in order."""
    path = tmp_path / "log.jsonl"
    first = [step_row(0, 5.0), step_row(1, 4.0), step_row(2, 3.0), knn_row(2, 0.1)]
    write_lines(path, [*first, {"kind": "resume", "step": 1}, step_row(1, 4.5), step_row(2, 3.5), knn_row(2, 0.2)])

    log = read_log(path)

    assert [(s.step, s.loss) for s in log.steps] == [(0, 5.0), (1, 4.5), (2, 3.5)]
    assert [k.accuracy for k in log.knn] == [0.2]
    assert log.resumes == (1,)


def test_steps_after_the_resumed_one_are_void_until_repeated(tmp_path):
    """A run that goes on from step 1 has not reached step 2 yet, whatever was written before."""
    path = tmp_path / "log.jsonl"
    write_lines(path, [step_row(0), step_row(1), step_row(2), {"kind": "resume", "step": 1}])

    assert [s.step for s in read_log(path).steps] == [0, 1]


def test_two_tasks_and_two_alarms_at_one_step_are_both_kept(tmp_path):
    """Only a true repetition replaces a row."""
    path = tmp_path / "log.jsonl"
    alarms = [
        {"kind": "alarm", "step": 3, "epoch": 0.3, "message": text} for text in ("shrinks", "diverges", "shrinks")
    ]
    write_lines(path, [knn_row(3, 0.1, "a"), knn_row(3, 0.2, "b"), *alarms])

    log = read_log(path)

    assert [k.task for k in log.knn] == ["a", "b"]
    assert [a.message for a in log.alarms] == ["shrinks", "diverges"]


def test_unknown_keys_and_unknown_kinds_are_left_alone(tmp_path):
    """Records of a newer writer stay readable."""
    write_lines(tmp_path / "log.jsonl", [step_row(0, queue_size=3), {"kind": "gradient", "norm": 2}])
    write_lines(tmp_path / "scores.jsonl", [score_row(0.5, confusion=[[1]])])

    assert len(read_log(tmp_path / "log.jsonl").steps) == 1
    assert len(read_scores(tmp_path / "scores.jsonl")) == 1


def test_values_that_may_be_null_may_be_absent(tmp_path):
    """Feature statistics are not measured at every step."""
    row = step_row(0)
    del row["feature_std"]
    write_lines(tmp_path / "log.jsonl", [{**row, "effective_rank": None}])

    step = read_log(tmp_path / "log.jsonl").steps[0]

    assert (step.feature_std, step.effective_rank) == (None, None)


def test_of_repeated_scores_the_last_row_counts(tmp_path):
    """Evaluating again replaces the value for the same task, protocol, checkpoint and seed only."""
    rows = [score_row(0.1), score_row(0.2, seed=1), score_row(0.3, protocol="linear"), score_row(0.4)]
    write_lines(tmp_path / "scores.jsonl", rows)

    assert sorted(s.value for s in read_scores(tmp_path / "scores.jsonl")) == [0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": 71.3}, "value = 71.3; expected a number from 0 to 1"),
        ({"value": float("nan")}, "value = nan"),
        ({"pretrained": "yes"}, "true or false"),
        ({"seed": -1}, "a whole number from 0"),
        ({"seed": True}, "a whole number from 0"),
        ({"time": "yesterday"}, "an ISO 8601 time"),
        ({"features": "../secret.npz"}, "a file beside this one"),
        ({"settings": []}, "a JSON object"),
        ({"interval": [0.1]}, "two numbers from 0 to 1"),
    ],
)
def test_a_malformed_score_names_file_line_and_field(tmp_path, change, words):
    """The third line of the file is wrong, after a blank one, and the message says so."""
    path = tmp_path / "scores.jsonl"
    good, bad = json.dumps(score_row()), json.dumps(score_row(**change))
    path.write_text(f"{good}\n\n{bad}\n", encoding="utf-8")

    with pytest.raises(SourceInvalid) as caught:
        read_scores(path)

    assert f"line 3 of {path}" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [name for name in score_row() if name not in ("commit", "features")])
def test_a_score_without_a_required_key_is_refused(tmp_path, name):
    """Every key but the nullable ones must be there."""
    row = score_row()
    del row[name]
    write_lines(tmp_path / "scores.jsonl", [row])

    with pytest.raises(SourceInvalid, match=rf"line 1 of .*scores.jsonl has no '{name}'"):
        read_scores(tmp_path / "scores.jsonl")


@pytest.mark.parametrize("row", ['{"kind": "step", "step": 1}', "[1, 2]", '"text"', '{"step": 1}'])
def test_a_malformed_log_row_names_file_and_line(tmp_path, row):
    """Rows without loss, rows without kind, and rows that are no objects."""
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(step_row(0)) + "\n" + row + "\n", encoding="utf-8")

    with pytest.raises(SourceInvalid, match=r"line 2 of .*log\.jsonl"):
        read_log(path)


def test_a_config_without_data_or_of_no_json_is_refused(tmp_path):
    """What the report shows of config.json is checked before it is shown."""
    path = tmp_path / "config.json"

    path.write_text(json.dumps({**config_json(), "data": {"path": "a.zarr"}}), encoding="utf-8")
    with pytest.raises(SourceInvalid, match=r"'data' of .* has no 'title'"):
        read_config(path)

    path.write_text("{\n,", encoding="utf-8")
    with pytest.raises(SourceInvalid, match=r"line 2 of .*config\.json is not JSON"):
        read_config(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": None}, r"'config' of .*config\.json has method = None; expected a JSON object"),
        ({"views": 3}, "has views = 3; expected a JSON object"),
        ({"backbone": None}, "has backbone = None; expected text"),
        ({"recipe": 5}, "has recipe = 5; expected text"),
        ({"engine": {"batch_size": "eight"}}, "has batch_size = 'eight'; expected a whole number from 0"),
    ],
)
def test_options_of_a_run_that_cannot_be_are_refused(tmp_path, options, words):
    """A report tells no damaged config as a run's options."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**config_json(), "config": options}), encoding="utf-8")

    with pytest.raises(SourceInvalid, match=words):
        read_config(path)


def test_a_run_is_synthetic_if_its_training_data_are(tmp_path):
    """A score on a synthetic task does not make the pixels synthetic that the network was trained on."""
    trained = write_run(tmp_path / "a", config=config_json(synthetic=True), scores=[score_row(synthetic=False)])
    scored = write_run(tmp_path / "b", config=config_json(synthetic=False), scores=[score_row(synthetic=True)])
    alone = write_run(tmp_path / "c", scores=[score_row(synthetic=True)])

    assert [read_run(path).synthetic for path in (trained, scored, alone)] == [True, False, False]
