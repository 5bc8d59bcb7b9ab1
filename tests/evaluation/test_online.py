# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.features import extract
from ssl4eo.evaluation.online import STRENGTH, OnlineProbe, predict_linear
from ssl4eo.evaluation.protocols.knn import predict_knn
from ssl4eo.evaluation.tasks.task import Task
from ssl4eo.training.monitor import effective_rank, feature_std


def test_reading_is_the_knn_accuracy_on_validation(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """The reading is what the parts give when they are put together by hand."""
    task = pattern_task(90)
    train, validation = task.part("train"), task.part("validation")

    accuracy = OnlineProbe(task, linear=False)(rgb_network).knn

    predicted, _ = predict_knn(
        extract(rgb_network, train), torch.from_numpy(train.labels), extract(rgb_network, validation), num_classes=3
    )
    assert accuracy == (predicted.numpy() == validation.labels).mean()


def test_linear_reading_is_the_optimum_that_scikit_learn_finds(
    pattern_task: Callable[..., Task], rgb_network: Backbone
) -> None:
    """An independent fit of the same loss, at the same strength, gives the same classes."""
    task = pattern_task(90)
    train, validation = task.part("train"), task.part("validation")

    reading = OnlineProbe(task)(rgb_network)

    bank, queries = (extract(rgb_network, part).double().numpy() for part in (train, validation))
    scaler = StandardScaler().fit(bank)
    fitted = LogisticRegression(C=STRENGTH, max_iter=5000, tol=1e-8).fit(scaler.transform(bank), train.labels)
    assert reading.linear == (fitted.predict(scaler.transform(queries)) == validation.labels).mean()


def test_linear_probe_finds_classes_that_a_line_divides() -> None:
    """Three clouds far apart on three axes are told apart without a mistake; a class that is absent never comes."""
    labels = torch.arange(60) % 3
    generator = torch.Generator().manual_seed(0)
    features = 5 * torch.eye(3)[labels] + torch.randn((60, 3), generator=generator)

    assert torch.equal(predict_linear(features[:45], 2 * labels[:45], features[45:]), 2 * labels[45:])


def test_reading_tells_spread_and_rank_of_the_features(
    pattern_task: Callable[..., Task], rgb_network: Backbone
) -> None:
    """Of the bank, as the monitor of embeddings measures them."""
    task = pattern_task(90)
    bank = extract(rgb_network, task.part("train"))

    reading = OnlineProbe(task, linear=False)(rgb_network)

    assert (reading.feature_std, reading.effective_rank) == (feature_std(bank), effective_rank(bank))
    assert reading.linear is None


def test_test_items_are_never_read(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Watching a run must not cost the test part its innocence."""
    task = pattern_task(90)
    source = task.everything.source

    OnlineProbe(task)(rgb_network)

    assert not {index for index, _ in source.reads} & set(task.part("test").items.tolist())


def test_bank_is_limited_and_always_the_same(pattern_task: Callable[..., Task]) -> None:
    """The bank is a fixed part of the training items."""
    task = pattern_task(200)

    first, second = (OnlineProbe(task, max_bank=30) for _ in range(2))

    assert first.num_bank == 30
    assert first._bank.ids == second._bank.ids
    assert set(first._bank.ids) < set(task.part("train").ids)
    assert OnlineProbe(task).num_bank == len(task.part("train"))


def test_reading_leaves_a_network_in_training_as_it_was(pattern_task: Callable[..., Task]) -> None:
    """A run with readings is bit for bit the run without."""
    network = Backbone("resnet18", network_input("S2RGB"), image_size=32, seed=0).train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()

    OnlineProbe(pattern_task(60))(network)

    assert network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_network_can_train_on_after_a_reading(pattern_task: Callable[..., Task]) -> None:
    """No tensor of inference mode stays behind in the network."""
    network = Backbone("resnet18", network_input("S2RGB"), image_size=32, seed=0).train()

    OnlineProbe(pattern_task(60))(network)
    network(torch.rand(2, 3, 32, 32)).sum().backward()

    assert next(network.parameters()).grad is not None


def test_too_few_items_are_refused_before_training(pattern_task: Callable[..., Task]) -> None:
    """Twenty neighbors need a bank of twenty."""
    with pytest.raises(ConfigInvalid, match="training items of patterns"):
        OnlineProbe(pattern_task(24))
