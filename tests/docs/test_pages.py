# SPDX-License-Identifier: Apache-2.0
"""What pages say of the code is so: tables made from it, commands that parse, names that exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import torchgeo.models
from checkpoint_rows import rows as checkpoint_rows
from page_blocks import blocks

from ssl4eo.checkpoints.catalog import CARDS, card
from ssl4eo.cli import VERBS
from ssl4eo.commands.parsing import function_parser, parse
from ssl4eo.errors import Ssl4eoError
from ssl4eo.recipes.table import RECIPES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def between(page: str, start: str) -> list[str]:
    """Give the lines of a table that a page marks."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {start}.*?-->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert found is not None
    return found[1].split("\n")


def benchmark(name: str) -> ModuleType:
    """Import a file of benchmarks."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_checkpoints_is_that_of_the_catalog() -> None:
    """Else: python tests/docs/checkpoint_rows.py prints it."""
    assert between("choose-a-checkpoint.md", "checkpoints") == checkpoint_rows()


def test_the_table_of_costs_is_what_the_formulas_give() -> None:
    """Else: python benchmarks/estimate_cost.py prints it."""
    assert between("cost.md", "costs") == benchmark("estimate_cost").rows()


def test_torchgeos_weights_and_ours_are_the_same_files() -> None:
    """Each row: the enum exists, and its address is one of the card's files, at the host of either spelling."""
    found = [re.findall(r"`([^`]+)`", row) for row in between("migrate/torchgeo.md", "weights")[2:]]
    for theirs, ours in found:
        kind, _, name = theirs.partition(".")
        url = str(getattr(torchgeo.models, kind)[name].url)
        files = {file.url.rpartition("/")[2] for file in card(ours).files}
        assert url.rpartition("/")[2] in files, (theirs, ours)
    assert {ours for _, ours in found} >= {name for name in CARDS if name.startswith("mae.")}


def commands() -> list[tuple[str, str]]:
    """Give every command line of ours on a page, with its place; what stands for something is left in."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for block in blocks(page):
            if block.kind not in ("", "bash"):
                continue
            for line in block.code.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|", line.partition("  #")[0]):
                    words = part.strip().removeprefix("FILE=$(").removesuffix(")")
                    if words.startswith("ssl4eo ") and "..." not in words:
                        found.append((f"{page.relative_to(ROOT)}: {words}", words))
    return found


@pytest.mark.parametrize(("place", "line"), commands())
def test_every_command_on_a_page_is_understood(place: str, line: str) -> None:
    """By the parser of its verb: no option that does not exist, no value of another type."""
    verb, *arguments = shlex.split(line, comments=True)[1:]
    arguments = [word for word in arguments if word != "[--untrained]"]
    if verb.startswith("-"):
        return
    assert verb in VERBS, place
    if "--help" in arguments or "ACTION" in arguments:
        return
    module = VERBS[verb].module(verb)
    try:
        parser = module.build_parser(arguments) if hasattr(module, "build_parser") else None
        parse(parser or function_parser(verb, module.run), arguments)
    except (Ssl4eoError, SystemExit) as error:
        pytest.fail(f"{place}: {error}")


def test_every_recipe_that_a_page_names_exists() -> None:
    """Names of recipes and of published checkpoints, in code."""
    known = {*RECIPES, *CARDS}
    for page in PAGES:
        for name in re.findall(
            r"\b(?:moco_v2|moco_v3|dino|mae|data2vec)\.[a-z0-9_]+\.s[a-z0-9_.]+\b", page.read_text("utf-8")
        ):
            plain = name.rstrip(".")
            assert plain in known or any(other.startswith(plain) for other in known), f"{page.name}: {name}"


def test_no_file_of_the_site_tells_of_a_machine() -> None:
    """Paths of whoever wrote a page are nobody's business, and work nowhere else."""
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:work|root|home|tmp)/", page.read_text("utf-8")), page.name
