# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, DataMissing, UnknownName, WriteFailed
from ssl4eo.evaluation import run as module
from ssl4eo.evaluation.network import Network, load_network
from ssl4eo.evaluation.run import evaluate
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task
from ssl4eo.files import file_sha256, read_jsonl
from ssl4eo.report.predictions import read_examples
from ssl4eo.report.projection import read_features
from ssl4eo.report.records import read_scores

REQUIRED = {
    "task", "split", "part", "protocol", "metric", "value", "interval", "measures", "by_class", "kind", "method",
    "curve", "notes", "checkpoint",
    "checkpoint_sha256", "pretrained", "backbone", "seed", "num_train", "num_test", "num_classes", "synthetic",
    "settings", "split_sha256", "commit", "versions", "time", "features",
}  # fmt: skip


@pytest.fixture
def network(rgb_network: Backbone) -> Network:
    """The untrained network under judgement."""
    return Network("random.resnet18.s2rgb", rgb_network, None, 0)


def _with_test_labels(task: Task, labels: np.ndarray) -> Task:
    everything = task.everything
    changed = everything.labels.copy()
    changed[task.positions["test"]] = labels
    return replace(
        task,
        everything=LabelledPixels(everything.source, everything.items, everything.seasons, changed, everything.ids),
    )


def test_every_protocol_writes_a_line_that_the_report_reads(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """Lines carry all required keys as plain JSON, in the order of the protocols."""
    task = pattern_task(90)

    scores = evaluate(network, task, ["linear", "knn"], out=tmp_path)

    rows = list(read_jsonl(tmp_path / "scores.jsonl"))
    assert [row["protocol"] for row in rows] == ["linear", "knn"]
    assert rows == [json.loads(json.dumps(score.to_json())) for score in scores]
    assert all(row.keys() >= REQUIRED for row in rows)
    assert [score.value for score in read_scores(tmp_path / "scores.jsonl")] == [score.value for score in scores]


def test_score_says_what_was_measured(pattern_task: Callable[..., Task], network: Network, tmp_path: Path) -> None:
    """Counts, names, settings and interval of one line."""
    task = pattern_task(90)

    (score,) = evaluate(network, task, ["knn"], out=tmp_path)

    assert (score.task, score.split, score.part, score.metric) == ("patterns", "quarter", "test", "accuracy")
    assert score.num_train + score.num_test == 90
    assert score.num_test == len(task.part("test"))
    assert score.interval[0] <= score.value <= score.interval[1]
    assert np.array(score.confusion).sum() == score.num_test
    assert score.settings["k"] == 20
    assert score.settings["image_size"] == 32
    assert score.synthetic
    assert not score.pretrained
    assert score.checkpoint_sha256 is None
    assert score.split_sha256 == task.split_sha256
    assert score.features is None


def test_patterns_are_told_apart_by_an_untrained_network(pattern_task: Callable[..., Task], tmp_path: Path) -> None:
    """Flat, striped and checkered pictures, enlarged to 64 px, are easy: both protocols are far above a third."""
    network = Network("random.resnet18.s2rgb", untrained("random.resnet18.s2rgb", image_size=64).eval(), None, 0)

    scores = evaluate(network, pattern_task(120), ["knn", "linear"], out=tmp_path)

    assert all(score.value > 0.8 for score in scores)


def test_second_run_appends_equal_values(pattern_task: Callable[..., Task], network: Network, tmp_path: Path) -> None:
    """Nothing in the value is random."""
    task = pattern_task(60)

    first, second = (evaluate(network, task, ["knn", "linear"], out=tmp_path) for _ in range(2))

    assert [s.value for s in first] == [s.value for s in second]
    assert [s.interval for s in first] == [s.interval for s in second]
    assert len(list(read_jsonl(tmp_path / "scores.jsonl"))) == 4


def test_test_labels_influence_the_value_alone(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """With permuted test labels the chosen strength and all settings stay."""
    task = pattern_task(120)
    labels = task.part("test").labels
    permuted = _with_test_labels(task, np.random.default_rng(0).permutation(labels))

    (honest,) = evaluate(network, task, ["linear"], out=tmp_path)
    (wrong,) = evaluate(network, permuted, ["linear"], out=tmp_path)

    assert honest.settings == wrong.settings
    assert honest.value > wrong.value


def test_features_are_computed_once_for_all_protocols(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """Each item is read once, whatever the number of protocols; test items whose pictures are kept, for these too."""
    task = pattern_task(60)
    source = task.everything.source

    scores = evaluate(network, task, ["knn", "linear"], out=tmp_path)

    shown = [str(name) for score in scores for name in np.load(tmp_path / score.examples)["ids"]]
    again = [index for index, _ in source.reads[60:]]
    assert sorted(index for index, _ in source.reads[:60]) == list(range(60))
    assert sorted(task.everything.ids[index] for index in again) == sorted(shown)
    assert set(again) <= set(task.part("test").items.tolist())


def test_pictures_are_kept_of_items_judged_wrong_and_right(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """Up to eight of each, the wrong ones first, with their true and predicted class."""
    task = pattern_task(60)

    (score,) = evaluate(network, task, ["knn"], out=tmp_path)

    examples = read_examples(tmp_path / score.examples)
    is_right = examples.truths == examples.predicted
    assert examples.images.ndim == 5
    assert examples.images.shape[:2] == (len(is_right), 1)
    assert not is_right[: (~is_right).sum()].any()
    total = np.array(score.confusion)
    num_right = int(np.trace(total))
    assert is_right.sum() == min(8, num_right)
    assert (~is_right).sum() == min(8, int(total.sum()) - num_right)
    labels = dict(zip(task.part("test").ids, task.part("test").labels, strict=True))
    assert [labels[name] for name in examples.ids] == examples.truths.tolist()


def test_saved_features_are_of_the_test_part(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """The file beside the scores is what the report's projection reads, without pickle."""
    task = pattern_task(60)

    (score,) = evaluate(network, task, ["knn"], out=tmp_path, save_features=True)

    assert score.features is not None
    features = read_features(tmp_path / score.features)
    np.testing.assert_array_equal(features.labels, task.part("test").labels)
    np.testing.assert_array_equal(features.values, module.extract(network.backbone, task.part("test")).numpy())
    assert features.classes == task.classes
    with np.load(tmp_path / score.features, allow_pickle=False) as data:
        assert tuple(data["ids"].tolist()) == task.part("test").ids
        assert data["features"].dtype == np.float32
        assert data["labels"].dtype == np.int64


def test_networks_do_not_overwrite_each_others_features(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """Files differ by checkpoint and seed."""
    task = pattern_task(60)

    names = {
        evaluate(changed, task, ["knn"], out=tmp_path, save_features=True)[0].features
        for changed in (
            network,
            replace(network, seed=1),
            replace(network, sha256="0" * 64),
            replace(network, sha256="1" * 64),
        )
    }

    assert len(names) == 4
    assert all((tmp_path / str(name)).is_file() for name in names)


def test_commit_is_that_of_the_start(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit made while the features are computed is not blamed for the score."""
    commits = ["before"]
    monkeypatch.setattr(module, "commit", lambda: commits[-1])

    (score,) = evaluate(
        network, pattern_task(60), ["knn"], out=tmp_path, progress=lambda _done, _total: commits.append("after")
    )

    assert commits[-1] == "after"
    assert score.commit == "before"


def test_progress_counts_all_parts_as_one(pattern_task: Callable[..., Task], network: Network, tmp_path: Path) -> None:
    """The bar runs once from nothing to everything."""
    told: list[tuple[int, int]] = []

    evaluate(network, pattern_task(60), ["knn"], out=tmp_path, progress=lambda done, total: told.append((done, total)))

    assert told[-1] == (60, 60)
    assert told == sorted(told)


def test_unknown_repeated_and_no_protocols_are_refused(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """Before anything is computed, and nothing is written."""
    task = pattern_task(60)

    with pytest.raises(UnknownName, match=r"no protocol is called 'linaer'.*did you mean linear"):
        evaluate(network, task, ["linaer"], out=tmp_path)
    with pytest.raises(ConfigInvalid, match="each once"):
        evaluate(network, task, ["knn", "knn"], out=tmp_path)
    with pytest.raises(ConfigInvalid, match=r"\(none\)"):
        evaluate(network, task, [], out=tmp_path)
    assert not task.everything.source.reads
    assert not list(tmp_path.iterdir())


def test_too_few_items_for_knn_write_no_score(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path
) -> None:
    """Twenty neighbors of fewer items: no smaller k in secret."""
    with pytest.raises(ConfigInvalid, match="k = 20 neighbors of"):
        evaluate(network, pattern_task(24), ["knn"], out=tmp_path)

    assert not (tmp_path / "scores.jsonl").exists()


@pytest.fixture
def trained_file(tmp_path: Path, rgb_network: Backbone) -> Path:
    """A backbone file that says that it was trained with seed 7."""
    path = tmp_path / "run" / "backbone.safetensors"
    path.parent.mkdir()
    save_backbone(rgb_network, path, training={"seed": 7, "recipe": "test"})
    return path


def test_trained_file_tells_its_own_seed_and_hash(trained_file: Path) -> None:
    """The seed of a score is that of the training, by file and by run folder."""
    for name in (trained_file, trained_file.parent):
        network = load_network(str(name), seed=3)
        assert network.seed == 7
        assert network.sha256 == file_sha256(trained_file)
        assert network.checkpoint == str(name)
        assert network.pretrained


def test_file_without_a_seed_takes_the_given_one(tmp_path: Path, rgb_network: Backbone) -> None:
    """Where the header is silent the caller's number is recorded."""
    save_backbone(rgb_network, tmp_path / "a.safetensors", training={})

    assert load_network(str(tmp_path / "a.safetensors"), seed=3).seed == 3


@pytest.mark.parametrize("training", [{"seed": "seven"}, {"seed": None}, {"seed": True}])
def test_seed_that_is_no_number_is_refused(tmp_path: Path, rgb_network: Backbone, training: dict) -> None:
    """A record that cannot be right is not passed on into a table."""
    save_backbone(rgb_network, tmp_path / "a.safetensors", training=training)

    with pytest.raises(CheckpointInvalid, match="whole number"):
        load_network(str(tmp_path / "a.safetensors"))


def test_untrained_network_takes_seed_and_size() -> None:
    """A name stands for weights drawn from the seed."""
    network = load_network("random.resnet18.s2rgb", seed=5, image_size=48)

    assert network.seed == 5
    assert network.backbone.image_size == 48
    assert network.backbone.contract == network_input("S2RGB")
    assert not network.pretrained


def test_file_sees_another_image_size_if_asked_for(trained_file: Path) -> None:
    """Its own, or any that its network can see."""
    assert load_network(str(trained_file)).backbone.image_size == 32
    assert load_network(str(trained_file), image_size=64).backbone.image_size == 64
    with pytest.raises(ConfigInvalid, match="image_size is 16"):
        load_network(str(trained_file), image_size=16)


def test_missing_and_broken_checkpoints_are_refused(tmp_path: Path) -> None:
    """What cannot be loaded is named."""
    (tmp_path / "a.safetensors").write_bytes(b"nothing")

    with pytest.raises(DataMissing, match=r"absent\.safetensors"):
        load_network(str(tmp_path / "absent.safetensors"))
    with pytest.raises(CheckpointInvalid, match=r"a\.safetensors"):
        load_network(str(tmp_path / "a.safetensors"))


def test_a_kill_before_the_score_is_written_costs_no_training(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state stays until the line stands: the next call trains nothing, and takes the state away."""
    task, append = pattern_task(60), module.append_jsonl

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "append_jsonl", die)
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, task, ["finetune"], out=tmp_path, epochs=1)
    monkeypatch.setattr(module, "append_jsonl", append)
    (state,) = (tmp_path / "training").glob("*/state.pt")
    steps: list[int] = []

    (score,) = evaluate(network, task, ["finetune"], out=tmp_path, epochs=1, progress=lambda n, _: steps.append(n))

    assert not steps
    assert len(score.curve) == 1
    assert not state.parent.exists()


def test_what_cannot_be_done_is_refused_before_any_work(
    pattern_task: Callable[..., Task], network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protocol without a published script beside one that could run, no epochs, a folder that is a file."""
    monkeypatch.setattr(module, "extract", lambda *_, **__: pytest.fail("work was begun"))
    task = pattern_task(60)
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigInvalid, match="finetune_as_published of a network of an unknown method"):
        evaluate(network, task, ["knn", "finetune_as_published"], out=tmp_path)
    with pytest.raises(ConfigInvalid, match="0 epochs"):
        evaluate(network, task, ["knn"], out=tmp_path, epochs=0)
    with pytest.raises(WriteFailed, match="is no folder"):
        evaluate(network, task, ["knn"], out=tmp_path / "file")
    assert not (tmp_path / "scores.jsonl").exists()


def test_features_of_items_with_any_number_of_labels_can_be_drawn() -> None:
    """By the only label, or by how many there are."""
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])

    colors, classes = module._one_each(labels, ("bog", "fen"))

    assert [classes[i] for i in colors] == ["bog", "fen", "several labels", "no label"]
