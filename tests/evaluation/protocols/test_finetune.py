# SPDX-License-Identifier: Apache-2.0
"""Protocols that train: what moves and what does not, what is chosen, how an interrupted one goes on."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from ssl4eo.backbones.backbone import untrained
from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.evaluation.protocols import finetune as module
from ssl4eo.evaluation.protocols import tuning
from ssl4eo.evaluation.protocols.finetune import CORRECTED, run_recipe
from ssl4eo.evaluation.protocols.protocol import Trial
from ssl4eo.evaluation.protocols.published import GROUPS, published_recipe
from ssl4eo.evaluation.protocols.tuning import TuneConfig, batches_of
from ssl4eo.training.optimizer import OptimizerConfig

METHODS = ("moco_v2", "moco_v3", "dino", "mae", "data2vec")
SGD = OptimizerConfig("sgd", lr=0.5, weight_decay=0.0)


@pytest.fixture
def trial(pattern_task):
    """A small network and some patterns: two batches of training, or three where something is to be learned."""
    backbone = untrained("random.resnet18.s2rgb", image_size=32).eval()

    def make(count=30, **changes):
        task = pattern_task(count)
        values = {
            "backbone": backbone,
            "method": "moco_v2",
            "task": task.name,
            "kind": "class",
            "num_classes": 3,
            "train": task.part("train"),
            "validation": task.part("validation"),
            "test": task.part("test").without_answers(),
            "seed": 0,
            "epochs": 2,
        }
        return Trial(**(values | changes))

    make.truth = lambda count: pattern_task(count).part("test").labels
    return make


def recipe(**tuned):
    return dataclasses.replace(CORRECTED, tuning=TuneConfig(10, 16, SGD, **tuned))


def weights_of(backbone):
    return {name: value.clone() for name, value in backbone.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def watched(monkeypatch):
    """Keep the model that is trained."""
    kept = []
    build = module.Classifier

    def make(*args, **kwargs):
        kept.append(build(*args, **kwargs))
        return kept[0]

    monkeypatch.setattr(module, "Classifier", make)
    return kept


def test_patterns_are_learned(trial):
    """The probe that is trained tells what it was shown, and the caller's network stays as it was.

    Chance is a third. With all weights moving, a network this small learns or not by how a processor rounds.
    """
    given = trial(60, epochs=20)
    before = weights_of(given.backbone)

    prediction = run_recipe(given, recipe(frozen=True))

    assert (prediction.labels.numpy() == trial.truth(60)).mean() > 0.5
    assert [row["epoch"] for row in prediction.curve] == list(range(1, 21))
    assert prediction.curve[-1]["loss"] < prediction.curve[0]["loss"]
    assert same(before, given.backbone.state_dict())
    assert prediction.settings["tuning"]["epochs"] == 20


@pytest.mark.parametrize("moves", [False, True])
def test_frozen_means_frozen(trial, moves, monkeypatch):
    """Weights and statistics stay bit by bit; only the published defect, asked for by name, moves the statistics."""
    kept, given = watched(monkeypatch), trial()
    before = weights_of(given.backbone)

    run_recipe(given, recipe(frozen=True, statistics_move=moves, choose="last"))

    after = kept[0].backbone.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert bool(moved) == moves
    assert all("running" in name or "num_batches" in name for name in moved)


def test_tuned_network_moves_everywhere(trial, monkeypatch):
    """Every weight has got a gradient."""
    kept, given = watched(monkeypatch), trial()
    before = weights_of(given.backbone)

    run_recipe(given, recipe(choose="last"))

    after = kept[0].backbone.state_dict()
    assert not any(torch.equal(value, after[name]) for name, value in before.items())


def test_the_best_epoch_on_validation_is_judged(trial, monkeypatch):
    """Its weights, not the last ones."""
    values = iter([0.5, 0.9, 0.7])
    seen = []

    def validate(self, model):
        seen.append(weights_of(model))
        return next(values)

    monkeypatch.setattr(module.Crops, "validate", validate)
    kept = watched(monkeypatch)

    prediction = run_recipe(trial(epochs=3), recipe())

    assert prediction.settings["judged_epoch"] == 2
    assert same(seen[1], kept[0].state_dict())
    assert not same(seen[2], kept[0].state_dict())


def test_same_seed_same_scores_other_seed_others(trial):
    """Order, crops and head come from the seed."""
    first, again, other = (run_recipe(trial(seed=s), recipe()).scores for s in (0, 0, 1))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_interrupted_training_goes_on_as_if_nothing_had_happened(trial, tmp_path, monkeypatch):
    """Stopped after the second of four epochs."""
    whole = run_recipe(trial(epochs=4), recipe())
    keep, count = tuning._keep, []

    def stop(*args):
        keep(*args)
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_keep", stop)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(trial(epochs=4, folder=tmp_path / "a"), recipe())
    monkeypatch.setattr(tuning, "_keep", keep)

    resumed = run_recipe(trial(epochs=4, folder=tmp_path / "a"), recipe())

    assert torch.equal(whole.scores, resumed.scores)
    assert whole.curve == resumed.curve
    tuning.forget(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("damage", ["other settings", "cut short"])
def test_state_of_something_else_is_not_gone_on_from(trial, tmp_path, damage, caplog):
    """Other settings or a damaged file: begun anew, and said."""
    run_recipe(trial(folder=tmp_path), recipe())
    if damage == "cut short":
        content = (tmp_path / tuning.STATE).read_bytes()
        (tmp_path / tuning.STATE).write_bytes(content[: len(content) // 2])
    seed = 1 if damage == "other settings" else 0

    again = run_recipe(trial(folder=tmp_path, seed=seed), recipe())

    assert torch.equal(again.scores, run_recipe(trial(seed=seed), recipe()).scores)
    assert "begun anew" in caplog.text


def test_any_number_of_labels_is_learned(trial, pattern_task):
    """Rows, squares, and either of them: judged by average precision."""
    task = pattern_task(60)
    answers = {0: (0, 0, 0), 1: (1, 0, 1), 2: (0, 1, 1)}

    def relabelled(part):
        return dataclasses.replace(part, labels=np.array([answers[int(n)] for n in part.labels]))

    train, validation, test = (relabelled(task.part(name)) for name in ("train", "validation", "test"))
    given = trial(kind="labels", train=train, validation=validation, test=test.without_answers(), epochs=20)

    prediction = run_recipe(given, recipe())

    assert prediction.scores.shape == prediction.labels.shape == (15, 3)
    assert average_precision_score(test.labels, prediction.scores.numpy(), average="micro") > 0.85


def test_loss_that_is_not_finite_is_refused(trial):
    """With what to do about it."""
    wild = dataclasses.replace(CORRECTED, tuning=TuneConfig(2, 32, OptimizerConfig("sgd", lr=1e20, weight_decay=0.0)))

    with pytest.raises(SampleInvalid, match="learning rate is too high"):
        run_recipe(trial(), wild)


def test_schedules_are_hand_worked():
    """Ten epochs of four steps."""

    def factors(**settings):
        config = TuneConfig(10, 16, SGD, **settings)
        return [config.factor(step, steps_per_epoch=4) for step in (0, 3, 4, 20, 39)]

    assert factors(schedule="steps", milestones=(1, 5)) == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert factors(schedule="exponential", gamma=0.5) == pytest.approx([1, 1, 0.5, 0.5**5, 0.5**9])
    by_epoch = [0.5 * (1 + math.cos(math.pi * e / 10)) for e in (0, 0, 1, 5, 9)]
    assert factors(schedule="cosine_by_epoch") == pytest.approx(by_epoch)
    assert factors(schedule="cosine", warmup_epochs=1)[:2] == pytest.approx([1 / 5, 4 / 5])
    short = TuneConfig(100, 32, SGD, milestones=(60, 80), warmup_epochs=10).shortened(10)
    assert (short.epochs, short.milestones, short.warmup_epochs) == (10, (6, 8), 1)


@pytest.mark.parametrize("form", ["linear", "finetune"])
@pytest.mark.parametrize("task", ["bigearthnet_v1_s2", "eurosat", "so2sat_s2"])
@pytest.mark.parametrize("method", METHODS)
def test_every_published_row_has_its_recipe(method, task, form):
    """100 epochs, judged on the central 224 of 256 px; a probe is frozen."""
    found = published_recipe(form, method, task, is_transformer=True)

    assert found.tuning.epochs == 100
    assert found.seen == 0.875
    assert found.crop == ((0.8, 1.0) if task.startswith("big") else (0.08, 1.0))
    assert found.tuning.frozen or form == "finetune"
    assert found.tuning.optimizer.name == "sgd"


def test_published_numbers_and_defects_are_those_of_the_scripts():
    """Some of facts' table, one of each kind."""

    def of(form, method, task, *, is_transformer=True):
        return published_recipe(form, method, task, is_transformer=is_transformer)

    big = of("linear", "moco_v2", "bigearthnet_v1_s2", is_transformer=False)
    assert (big.tuning.optimizer.lr, big.tuning.batch_size, big.tuning.milestones) == (8.0, 1024, (60, 80))
    assert big.tuning.statistics_move
    assert of("linear", "dino", "so2sat_s2").pooling == "cls_last_4"
    assert of("linear", "dino", "so2sat_s2", is_transformer=False).pooling is None
    frozen = of("finetune", "moco_v2", "eurosat", is_transformer=False)
    assert frozen.tuning.frozen
    assert any("freezes" in line for line in frozen.deviations)
    assert of("finetune", "moco_v3", "bigearthnet_v1_s2").tuning.fixed_mode
    tiny = of("finetune", "dino", "so2sat_s2", is_transformer=False).tuning.optimizer
    assert tiny.lr == pytest.approx(3e-6)
    data2vec = of("finetune", "data2vec", "eurosat").tuning
    assert (data2vec.optimizer.nesterov, data2vec.optimizer.layer_decay, data2vec.warmup_epochs) == (True, 0.65, 10)
    assert of("finetune", "mae", "eurosat").head == "batch_norm"


@pytest.mark.parametrize(("method", "task"), [("", "eurosat"), ("moco_v2", "oscd"), ("seco", "eurosat")])
def test_what_nobody_published_is_refused(method, task):
    """With the protocols that are for everything."""
    with pytest.raises(ConfigInvalid, match="judge it by `linear` or `finetune`"):
        published_recipe("linear", method, task, is_transformer=False)
    assert set(GROUPS.values()) == {"BE", "EU", "SS"}


def test_a_last_batch_of_one_joins_the_one_before(trial):
    """Batch norm needs two values a channel: 17 items in batches of 16 are one batch of 17."""
    assert [len(rows) for rows in batches_of(np.arange(17), 16)] == [17]
    assert [len(rows) for rows in batches_of(np.arange(34), 16)] == [16, 16, 2]
    assert [len(rows) for rows in batches_of(np.arange(32), 16)] == [16, 16]
    assert [len(rows) for rows in batches_of(np.arange(1), 16)] == [1]
    given = trial(epochs=1)
    odd = dataclasses.replace(given, train=given.train.take(np.arange(17)))

    assert len(run_recipe(odd, dataclasses.replace(recipe(), head="batch_norm")).curve) == 1


def test_a_state_of_other_pixels_or_labels_is_not_gone_on_from(trial, tmp_path, caplog):
    """The same names with another contract, or a corrected label: begun anew, so that no score is a mixture."""
    first = trial(folder=tmp_path)
    run_recipe(first, recipe())
    relabelled = first.train.labels.copy()
    relabelled[0] = 1 - relabelled[0]
    source = first.train.source
    for name, changed in (
        ("labels", dataclasses.replace(first, train=dataclasses.replace(first.train, labels=relabelled))),
        ("contract", dataclasses.replace(first, train=dataclasses.replace(first.train, source=Shifted(source)))),
    ):
        caplog.clear()
        assert tuning._key(recipe().tuning, changed, LESSON) != tuning._key(recipe().tuning, first, LESSON), name


class Shifted:
    """A source that says that its bands are in another order."""

    def __init__(self, source):
        self.identity = source.identity
        self.contract = dataclasses.replace(source.contract, bands=source.contract.bands[::-1])


LESSON = SimpleNamespace(model=torch.nn.Linear(1, 1))


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs_are_refused(trial, epochs):
    """Before anything is computed."""
    with pytest.raises(ConfigInvalid, match=f"{epochs} epochs"):
        run_recipe(trial(epochs=epochs), recipe())
