# SPDX-License-Identifier: Apache-2.0
"""A command line with a mistake: two lines on stderr that say what is wrong, what may be meant, and where help is."""

from __future__ import annotations

import pytest

from ssl4eo.cli import main
from ssl4eo.commands.parsing import separated

TINY = "moco_v2.resnet18.s2l1c.tiny"
PRETRAIN = f"pretrain --recipe {TINY} --data a --out b"
EVALUATE = "evaluate --out a --root b --checkpoint c --task d"


def told(capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    """Give the lines that a wrong command line is answered with."""
    try:
        status = main(line.split())
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    return err.splitlines()


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (f"{PRETRAIN} --epochs 4", "--engine.epochs"),
        (f"{PRETRAIN} --batch-size=4", "--engine.batch_size"),
        (f"{PRETRAIN} --enigne.epochs 4", "--engine.epochs"),
        (f"{PRETRAIN} --epoch 4", "--engine.epochs"),
        (f"{PRETRAIN} --epochs 4 --size 9", "--engine.epochs or --views.view.size"),
        (f"{EVALUATE} --protocols knn", "--protocol"),
        (f"{EVALUATE} --image-sise 64", "--image_size"),
        ("info a.zarr --jsno", "--json"),
    ],
)
def test_unknown_options_are_answered_with_those_that_may_be_meant(capsys, line, meant):
    """By their last word, or by their spelling."""
    first, second = told(capsys, line)

    assert first.startswith(f"ssl4eo {line.split()[0]}: unrecognized arguments: --")
    assert first.endswith(f"; did you mean {meant}?")
    assert second.endswith(" --help` lists the options")


def test_nothing_is_meant_by_what_is_like_nothing(capsys):
    """No guess is better than a wrong one; the help is that of the recipe, which has the options."""
    first, second = told(capsys, f"{PRETRAIN} --qqq 4")

    assert first == "ssl4eo pretrain: unrecognized arguments: --qqq 4"
    assert second == f"`ssl4eo pretrain --recipe {TINY} --help` lists the options"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{PRETRAIN} --engine.epochs x", "--engine.epochs: expected int; got x"),
        (f"{PRETRAIN} --engine.precision half", "--engine.precision: expected one of 'auto', 'bf16-mixed', "),
        ("pretrain --data a --out b --recipe", "argument --recipe: expected one argument"),
        ("pretrain", "the following arguments are required: --recipe, --data, --out"),
        ("checkpoints", "one of list, show, fetch, inspect, export after it"),
        ("checkpoints show", "the following arguments are required: name"),
        ("evaluate", "the following arguments are required: --out, --root"),
        ("locations", "what to do is missing; expected one of draw, show after it"),
    ],
)
def test_other_mistakes_are_two_lines_too(capsys, line, words):
    """Without a page of usage, and without words of Python's."""
    first, second = told(capsys, line)

    assert words in first
    assert "class" not in first
    assert second.endswith(" --help` lists the options")


@pytest.mark.parametrize(
    ("line", "missing", "taken"),
    [
        (
            "pack --bands B01 B12 SRC OUT",
            "src, out",
            "--bands took B01 B12 SRC OUT: give src and out before the options",
        ),
        ("pack --json --bands B01 B12 SRC OUT --modality S2L2A", "src, out", "--bands took B01 B12 SRC OUT"),
        ("report --out x", "runs", ""),
        ("pack SRC", "out", ""),
    ],
)
def test_paths_that_an_option_took_are_told(capsys, line, missing, taken):
    """A list takes all that follows it."""
    first, _ = told(capsys, line)

    assert f"the following arguments are required: {missing}" in first
    assert taken in first
    assert (" took " in first) == bool(taken)


def test_a_list_ends_at_two_dashes_as_the_message_says(capsys, tmp_path):
    """Then the paths are paths."""
    status = main(["pack", "--bands", "B01", "B12", "--", str(tmp_path / "none"), str(tmp_path / "out")])

    assert status == 1
    assert f"there is no {tmp_path / 'none'}" in capsys.readouterr().err


def test_names_may_be_separated_by_commas():
    """As one is used to from other tools."""
    assert separated(["B01,B02", "B03", "B04,"]) == ["B01", "B02", "B03", "B04"]
    assert separated(None) is None
