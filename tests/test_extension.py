# SPDX-License-Identifier: Apache-2.0
"""Objects of the user's own by `module:name` or `file.py:name`: found where they are, refused with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl4eo.collecting.services import ServiceOptions, open_service
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid, DataMissing, UnknownName
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.extension import is_own, load_own
from ssl4eo.packing.layouts import open_source
from ssl4eo.recipes.table import RECIPES, recipe


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take folders and modules away again that a test has added."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("own_"):
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_no_name_of_our_tables_looks_like_one_of_the_users() -> None:
    """A colon is what tells them apart."""
    assert not any(map(is_own, RECIPES))
    assert is_own("package.module:name")
    assert not is_own("package.module:not a name")


def test_a_file_is_found_by_its_path_and_by_processes_started_later(tmp_path: Path) -> None:
    """Worker processes unpickle its objects; a command that is run once more imports it."""
    file = write(tmp_path / "own_answer.py", "answer = 42\n")

    assert load_own("number", f"{file}:answer") == 42

    child = [sys.executable, "-c", "import own_answer; print(own_answer.answer)"]
    assert subprocess.run(child, capture_output=True, check=True, text=True).stdout == "42\n"
    assert load_own("number", "own_answer:answer") == 42


@pytest.mark.parametrize(
    ("text", "reference", "error", "words"),
    [
        (None, "own_none:x", ConfigInvalid, "no module own_none"),
        (None, "{folder}/own_none.py:x", DataMissing, "there is no"),
        ("wanted = 1\n", "{folder}/own_a.py:wanten", UnknownName, "did you mean wanted"),
        (
            "import os\nfrom ast import parse\ndef wide(): ...\nwanted = 1\n",
            "{folder}/own_a.py:x",
            UnknownName,
            "no thing in {folder}/own_a.py is called 'x'; expected one of wide, wanted",
        ),
        ("import os\n", "{folder}/own_a.py:x", UnknownName, "expected the name of a thing, of which it has none"),
        ("1 / 0\n", "{folder}/own_a.py:x", ConfigInvalid, "ZeroDivisionError"),
        ("import own_not_there\n", "{folder}/own_a.py:x", ConfigInvalid, "No module named 'own_not_there'"),
        ("def\n", "{folder}/own_a.py:x", ConfigInvalid, "SyntaxError"),
    ],
)
def test_what_cannot_be_had_is_told(
    tmp_path: Path, text: str | None, reference: str, error: type[Exception], words: str
) -> None:
    if text is not None:
        write(tmp_path / "own_a.py", text)

    with pytest.raises(error) as told:
        load_own("thing", reference.format(folder=tmp_path))

    assert words.format(folder=tmp_path) in str(told.value)


def test_only_recipes_are_offered_for_a_recipe(tmp_path: Path) -> None:
    """And not what their module imports, nor its classes and functions."""
    text = "import dataclasses\nfrom ssl4eo.recipes.recipe import Recipe\n"
    text += "from ssl4eo.recipes.table import recipe\n\nOTHER = 3\n\ndef tiny(*args): ...\n\n"
    text += "FIRST = recipe('moco_v2.resnet18.s2l1c.tiny')\n"
    text += "SECOND = Recipe('a', 'resnet18', 'S2L1C', tiny, promise='none')\n"
    write(tmp_path / "own_offer.py", text)

    with pytest.raises(UnknownName, match=r"is called 'NOPE'; expected one of FIRST, SECOND$"):
        recipe(f"{tmp_path}/own_offer.py:NOPE")


def test_a_file_that_would_hide_another_module_is_refused(tmp_path: Path) -> None:
    """The module of that name would be imported in its place."""
    file = write(tmp_path / "json.py", "answer = 42\n")

    with pytest.raises(ConfigInvalid, match="has the name of another module"):
        load_own("number", f"{file}:answer")


def test_an_object_of_another_kind_is_refused_everywhere(tmp_path: Path) -> None:
    """A number is neither recipe nor task nor layout nor service, and a task must give a Task."""
    file = write(tmp_path / "own_kinds.py", "number = 1\ndef task(root, **options): return 1\n")

    for use in (
        recipe,
        open_service,
        lambda name: open_source(tmp_path, layout=name),
        lambda name: open_task(name, tmp_path, contract=network_input("S2L1C")),
    ):
        with pytest.raises(ConfigInvalid, match="is a int; expected"):
            use(f"{file}:number")
    with pytest.raises(ConfigInvalid, match="gave is a int; expected a Task"):
        open_task(f"{file}:task", tmp_path, contract=network_input("S2L1C"))


def test_options_of_other_layouts_and_services_are_refused(tmp_path: Path) -> None:
    """Nobody would heed them."""
    file = write(tmp_path / "own_plain.py", "def make(*paths): return None\n")

    with pytest.raises(ConfigInvalid, match="has no option offset"):
        open_source(tmp_path, layout=f"{file}:make", offset=1000)
    with pytest.raises(ConfigInvalid, match="has no option project"):
        open_service(f"{file}:make", ServiceOptions(project="mine"))
