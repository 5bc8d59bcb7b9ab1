# SPDX-License-Identifier: Apache-2.0
"""Options of a run: what no run can have is refused, whichever recipe it is of."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import typing

import pytest
import torch
from process_driver import METHODS, build

from ssl4eo.errors import ConfigInvalid, UnknownName
from ssl4eo.methods.mae import MAEConfig
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.config import EngineConfig
from ssl4eo.pretraining.step import build_method
from ssl4eo.recipes.table import RECIPES


def float_options(config, path=()):
    """Give the path of every option that is a float, or holds some, by its annotation."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from float_options(value, (*path, field.name))
        elif _has_float(hints[field.name]):
            yield (*path, field.name)


def _has_float(hint):
    return hint is float or any(_has_float(inner) for inner in typing.get_args(hint))


def with_option(config, path, number):
    """Put a number in place of an option, of the last one where it is several."""
    name, *rest = path
    value = getattr(config, name)
    if rest:
        return dataclasses.replace(config, **{name: with_option(value, rest, number)})
    return dataclasses.replace(config, **{name: (*value[:-1], number) if isinstance(value, tuple) else number})


def kinds():
    """Give one recipe for each combination of classes of options that recipes are made of."""
    found = {}
    for row in RECIPES.values():
        config = row.config()
        found.setdefault((type(config.method), type(config.views)), config)
    return found


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_option_of_any_recipe_is_nan_or_infinite(number):
    """Every float of methods, views, optimizer, schedule and engine, those of the table's classes all."""
    paths = set()
    passed = []
    for config in kinds().values():
        for path in float_options(config):
            paths.add((type(config.method), path))
            try:
                with_option(config, path, number)
            except ConfigInvalid:
                continue
            passed.append((type(config.method).__name__, ".".join(path)))

    names = {".".join(path) for _, path in paths}
    assert {"method.temperature", "engine.save_minutes", "views.view.blur_sigma", "optimizer.betas"} <= names
    assert {"optimizer.weight_decay_end", "method.beta", "views.local.photometric.speckle"} <= names
    assert passed == []


def test_an_infinite_option_is_named():
    """By its dotted name, as it is given on the command line."""
    config = RECIPES["moco_v2.resnet18.s2rgb.tiny"].config()

    with pytest.raises(ConfigInvalid, match=r"^method\.temperature is inf; expected a finite number"):
        with_option(config, ("method", "temperature"), math.inf)


def test_layer_decay_of_a_network_without_layers_is_refused():
    """It would change nothing."""
    config = RECIPES["moco_v2.resnet18.s2rgb.tiny"].config()

    with pytest.raises(ConfigInvalid, match=r"optimizer\.layer_decay 0\.75 for resnet18"):
        with_option(config, ("optimizer", "layer_decay"), 0.75)


def test_remedy_for_a_batch_that_cannot_be_cut_is_one():
    """What the message proposes is accepted; it leaves the batch alone, to which method and queue are fitted."""
    refused = 0
    for batch, devices, nodes, parts in itertools.product((15, 16, 6, 2), (1, 2, 3, 5), (1, 2, 3), (1, 2, 4)):
        options = {"batch_size": batch, "devices": devices, "num_nodes": nodes, "accumulate": parts}
        try:
            EngineConfig(epochs=1, **options)
        except ConfigInvalid as error:
            refused += 1
            proposed = {name: int(number) for name, number in re.findall(r"--engine\.(\w+) (\d+)", error.remedy)}
            assert "batch_size" not in proposed
            EngineConfig(epochs=1, **(options | proposed))
    assert refused > 50


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [("strategy", "dp", "ddp"), ("photometrics", "gpu", ""), ("probe", "x", ""), ("precision", "fp16", "bf16-mixed")],
)
def test_a_choice_of_the_engine_that_is_none_is_named(name, value, near):
    """As on the command line, with those that there are."""
    with pytest.raises(UnknownName, match=rf"^no engine\.{name} is called '{value}'; expected one of .*{near}"):
        EngineConfig(**({"epochs": 1, "batch_size": 8} | {name: value}))


WHOLE = ("epochs", "batch_size", "seed", "devices", "num_nodes", "accumulate", "num_workers")


@pytest.mark.parametrize("value", [8.0, 1.5, "8", None, True])
@pytest.mark.parametrize("name", [*WHOLE, "log_every", "probe_every", "save_every"])
def test_numbers_of_the_engine_are_whole(name, value):
    """Fractions, text and truth values would fail much later, or not at all."""
    with pytest.raises(ConfigInvalid, match=rf"^engine\.{name} is {value!r}; expected a whole number"):
        EngineConfig(**({"epochs": 1, "batch_size": 8} | {name: value}))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("save_minutes", "5", "a number"),
        ("save_minutes", None, "a number"),
        ("compile", "no", "true or false"),
        ("channels_last", 1, "true or false"),
        ("accelerator", 0, "text"),
    ],
)
def test_options_of_the_engine_are_of_their_type(name, value, expected):
    """Text that says no is true in Python."""
    with pytest.raises(ConfigInvalid, match=rf"^engine\.{name} is {value!r}; expected {expected}"):
        EngineConfig(**({"epochs": 1, "batch_size": 8} | {name: value}))


def test_a_whole_number_of_minutes_is_a_number():
    """As --engine.save_minutes 5 gives it; the least of every number is taken."""
    least = {"epochs": 1, "batch_size": 2, "seed": 0, "num_workers": 0, "probe_every": 0, "save_minutes": 0}
    assert EngineConfig(**least).save_minutes == 0


@pytest.mark.parametrize("pooling", ["mean_norm", "cls_last_4"])
def test_mae_refuses_features_that_it_does_not_train(pooling):
    """A norm that the loss does not touch; class tokens of blocks that the decoder does not see."""
    with pytest.raises(ConfigInvalid, match=r"method\.pooling"):
        MAEConfig(mask_ratio=0.75, norm_pixels="band", pooling=pooling)


@pytest.mark.parametrize(("name", "options"), [*((n, {}) for n in METHODS), ("mae.vit_w48d2h3_8", {"pooling": "cls"})])
def test_every_parameter_that_learns_gets_a_gradient(name, options):
    """What is built, kept and moved by the optimizer is reached by the loss, for each method and pooling."""
    config = build(name)
    config = dataclasses.replace(config, method=dataclasses.replace(config.method, **options))
    method = build_method(config).train()
    views = tuple(torch.rand(4, 3, view.size, view.size) for view in config.views.views)
    masking = config.method.masking(config.setting)
    masks = None if masking is None else torch.arange(masking.grid**2).expand(4, -1) < masking.num_masked

    method(views, masks, Moment(step=1, num_steps=10, steps_per_epoch=5)).loss.backward()

    assert [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None] == []


def test_parts_that_norm_the_targets_are_doubted():
    """The run's start says what the method says of an accumulated batch."""
    config = RECIPES["data2vec.vit_small_16.s2l1c.tiny"].config()
    config = dataclasses.replace(config, method=dataclasses.replace(config.method, target_norm="batch"))
    parts = dataclasses.replace(config, engine=dataclasses.replace(config.engine, accumulate=2))

    assert [doubt for doubt in parts.doubts(1000) if "engine.accumulate 2" in doubt]
    assert not [doubt for doubt in config.doubts(1000) if "engine.accumulate" in doubt]
