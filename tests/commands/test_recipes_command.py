# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo recipes`: what is said of a recipe beside its config."""

from __future__ import annotations

import json

import pytest

from ssl4eo.cli import main
from ssl4eo.pretraining.config import flatten
from ssl4eo.recipes.table import RECIPES


def _shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["recipes", *arguments]) == 0
    return capsys.readouterr().out


def test_corrected_form_says_what_differs_and_names_the_published_one(capsys: pytest.CaptureFixture[str]) -> None:
    """In words, above the config."""
    text = _shown(capsys, "show", "moco_v2.resnet50.s2l1c")

    head, _ = text.split("  recipe = ")
    assert "\ndiffers from the published run: pairs are of two different seasons" in head
    assert "\nas published: moco_v2.resnet50.s2l1c.as_published\n" in head


def test_published_form_says_what_it_keeps_and_names_the_corrected_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The text of the recipe begins with "as published" itself."""
    text = _shown(capsys, "show", "dino.vit_small_16.s2l1c.as_published")

    assert "\nas published, defects included: solarization inverts dark pixels" in text
    assert "\ncorrected form: dino.vit_small_16.s2l1c\n" in text


def test_both_published_runs_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """ResNet-18 on RGB was published with 100 and with 200 epochs."""
    name = "moco_v2.resnet18.s2rgb"

    shown = json.loads(_shown(capsys, "show", name, "--json"))

    assert shown["beside"] == [f"{name}.as_published", f"{name}.as_published_ep200"]
    assert json.loads(_shown(capsys, "show", shown["beside"][1], "--json"))["beside"] == [name]


def test_form_of_another_length_is_named_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The corrected form has 100 epochs where one of the published runs had 200; nothing is said where they agree."""
    name = "moco_v2.resnet18.s2rgb"

    assert f"\ncorrected form: {name} (engine.epochs 100, here 200)\n" in _shown(
        capsys, "show", f"{name}.as_published_ep200"
    )
    assert f"\nas published: {name}.as_published, {name}.as_published_ep200 (engine.epochs 200, here 100)\n" in _shown(
        capsys, "show", name
    )
    assert f"\ncorrected form: {name}\n" in _shown(capsys, "show", f"{name}.as_published")


@pytest.mark.parametrize("name", ["moco_v3.resnet18.s2rgb.tiny", "moco_v3.vit_base_16.s2l1c"])
def test_what_was_not_published_has_nothing_beside_it(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A small form, and a size that nobody published."""
    text = _shown(capsys, "show", name)

    assert "as published:" not in text
    assert "corrected form:" not in text


def test_json_of_all_and_of_one_has_the_difference(capsys: pytest.CaptureFixture[str]) -> None:
    """Word for word as the table of recipes has it, for every full-size one."""
    rows = {row["name"]: row for row in json.loads(_shown(capsys, "list", "--json"))}
    one = json.loads(_shown(capsys, "show", "mae.vit_small_16.s2l1c", "--json"))

    assert {name: row["differs"] for name, row in rows.items()} == {n: r.differs for n, r in RECIPES.items()}
    assert one["differs"] == RECIPES[one["name"]].differs
    assert all(row["differs"] for name, row in rows.items() if not name.endswith(".tiny"))


def test_stacked_sensors_are_told_apart_from_published_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """No run of it was published, so there is no "the published run"; sensor drop and gray are said."""
    full = _shown(capsys, "show", "mae.vit_small_16.s2l2a_s1grd")
    small = _shown(capsys, "show", "moco_v2.resnet18.s2l1c_s1grd.tiny")

    assert "nobody has published this one" in full
    for text in (full, small):
        assert "\ndiffers from published runs of this method: " in text
        assert "half of the views lose one sensor and none is gray" in text


def test_two_recipes_are_compared_option_by_option(capsys: pytest.CaptureFixture[str]) -> None:
    """All that differs and nothing else, against the configs as they are; `show` says how to ask."""
    full, small = "mae.vit_small_16.s2l1c", "dino.resnet18.s2rgb.tiny"
    options = [flatten(RECIPES[name].config().to_json()) for name in (full, small)]
    same = {key for key in options[0].keys() & options[1].keys() if options[0][key] == options[1][key]}

    compared = json.loads(_shown(capsys, "compare", full, small, "--json"))
    text = _shown(capsys, "compare", "moco_v2.resnet18.s2rgb", "moco_v2.resnet18.s2rgb.tiny")

    assert {"views.view.size", "engine.seed"} & set(compared["first"]["options"]) == {"views.view.size"}
    for side, name, config in zip(("first", "second"), (full, small), options, strict=True):
        assert compared[side]["name"] == name
        assert compared[side]["options"] == {k: v for k, v in config.items() if k not in same | {"recipe"}}
    assert [line.split()[1::2] for line in text.splitlines() if "method.temperature" in line] == [
        ["method.temperature", "0.2", "0.1"]
    ]
    command = "ssl4eo recipes compare moco_v2.resnet18.s2rgb moco_v2.resnet18.s2rgb.tiny"
    assert command in _shown(capsys, "show", "moco_v2.resnet18.s2rgb.tiny")


def test_a_recipe_does_not_differ_from_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """And a name that there is not is told."""
    name = "dino.vit_small_16.s2l1c"

    assert _shown(capsys, "compare", name, name) == "no option differs\n"
    assert main(["recipes", "compare", name, f"{name}x"]) == 2
    assert f"did you mean {name}" in capsys.readouterr().err


def test_unknown_recipe_gives_the_nearest_names_and_where_all_are(capsys: pytest.CaptureFixture[str]) -> None:
    """More than a hundred names are no help in a message."""
    assert main(["recipes", "show", "mae.vit_small.s2l1c.tiny"]) == 2

    text = capsys.readouterr().err
    assert f"one of {len(RECIPES)} names that `ssl4eo recipes list` lists" in text
    assert "did you mean mae.vit_small_16.s2l1c.tiny or " in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (
            ["--method", "moco_v2", "--backbone", "resnet18", "--modality", "S2RGB"],
            ["", ".as_published", ".as_published_ep200", ".tiny"],
        ),
        (["--method", "moco_v2", "--backbone", "resnet18", "--modality", "s2rgb", "--form", "tiny"], [".tiny"]),
        (
            ["--backbone", "resnet18", "--modality", "s2rgb", "--form", "as_published"],
            [".as_published", ".as_published_ep200"],
        ),
    ],
)
def test_recipes_are_chosen_by_what_they_are(
    capsys: pytest.CaptureFixture[str], options: list[str], names: list[str]
) -> None:
    """By options that go together; the modality is spelled as its own or as in names."""
    found = {row["name"] for row in json.loads(_shown(capsys, "list", "--json", *options))}

    assert found == {f"moco_v2.resnet18.s2rgb{form}" for form in names}
    assert len(json.loads(_shown(capsys, "list", "--json"))) == len(RECIPES)


@pytest.mark.parametrize(("option", "value"), [("--method", "simclr"), ("--backbone", "swin"), ("--form", "huge")])
def test_choices_that_no_recipe_has_are_refused(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    """With those that there are; choices that exclude each other leave none, which is said."""
    assert main(["recipes", "list", option, value]) == 2
    assert f"of a recipe is called '{value}'; expected one of " in capsys.readouterr().err
    assert "none of the " in _shown(capsys, "list", "--method", "mae", "--backbone", "resnet50")
