# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from ssl4eo.errors import ConfigInvalid
from ssl4eo.pretraining.stored_config import stored_config
from ssl4eo.recipes.table import RECIPES, recipe


def _stored(name):
    return json.loads(json.dumps(recipe(name).config().to_json()))


def test_the_config_of_every_recipe_is_read_back_as_it_was():
    """All methods, arrangements of views and options, through JSON, whatever the run is called."""
    for name in RECIPES:
        assert stored_config(_stored(name)) == recipe(name).config()
    values = _stored("mae.vit_small_16.s2l1c.tiny") | {"recipe": "mine"}
    assert stored_config(values).method == recipe("mae.vit_small_16.s2l1c.tiny").config().method


def test_a_config_from_before_an_option_is_read():
    """Runs that are older than --init-from began with drawn weights."""
    values = _stored("dino.vit_small_16.s2l1c.tiny")
    del values["init_from"]

    assert stored_config(values).init_from == ""


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("method", {"spin": 1}, "a method with the options spin"),
        ("views", {"spin": 1}, "views with the options spin"),
        ("engine", {"epochs": 1, "batch_size": 2, "spin": 1}, "spin"),
        ("engine", {"epochs": 0, "batch_size": 2}, "engine.epochs is 0"),
        ("method", None, "cannot be read"),
    ],
)
def test_options_that_nobody_has_are_refused(part, values, words):
    """By name."""
    with pytest.raises(ConfigInvalid, match=words):
        stored_config(_stored("moco_v2.resnet18.s2l1c.tiny") | {part: values})
