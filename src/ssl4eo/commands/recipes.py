# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo recipes list|show`: what can be run, and all that it decides."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ssl4eo.commands.actions import Action, Actions
from ssl4eo.extension import is_own

if TYPE_CHECKING:
    from ssl4eo.recipes.recipe import Recipe


def list_recipes(*, json: bool = False) -> int:
    """List all recipes with what they read and what they promise.

    Args:
        json: print JSON for programs.
    """
    from ssl4eo.recipes.table import RECIPES, beside

    if json:
        rows = [_words(r, beside(r.name)) | {"modality": r.modality} for r in RECIPES.values()]
        print(jsonlib.dumps(rows, indent=2))  # noqa: T201 - the result
        return 0
    table = Table("recipe", "reads", "promise")
    for row in RECIPES.values():
        table.add_row(row.name, row.modality, row.promise)
    _console().print(table)
    return 0


def show_recipe(name: str, *, backbone: str | None = None, json: bool = False) -> int:
    """Show a recipe with its whole resolved config and its promise.

    Args:
        name: of the recipe, such as moco_v2.resnet50.s2l1c, or module:name of your own.
        backbone: show the recipe around another network, if its method can take it.
        json: print JSON for programs.
    """
    from ssl4eo.pretraining.config import flatten
    from ssl4eo.recipes.table import beside, recipe

    found = recipe(name).with_backbone(backbone)
    words, config = _words(found, () if is_own(name) else beside(found.name)), found.config().to_json()
    if json:
        print(jsonlib.dumps(words | {"config": config}, indent=2))  # noqa: T201 - the result
        return 0
    console = _console()
    console.print(f"[bold]{found.name}[/]\n{found.promise}", highlight=False)
    for line in _differences(words):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()
    for key, value in flatten(config).items():
        console.print(f"  {key} = {value!r}", highlight=False, markup=False)
    return 0


ACTIONS = Actions(
    "recipes",
    "List recipes, or show one in full.",
    {
        "list": Action(list_recipes, "what can be run", "list"),
        "show": Action(show_recipe, "all that one decides", "show moco_v2.resnet50.s2l1c"),
    },
    is_name=lambda word: word.count(".") > 1,
)
build_parser, run_parsed = ACTIONS.build_parser, ACTIONS.run_parsed


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _words(found: Recipe, siblings: tuple[str, ...]) -> dict[str, Any]:
    return {"name": found.name, "promise": found.promise, "differs": found.differs, "beside": list(siblings)}


def _differences(words: dict[str, Any]) -> list[str]:
    """Say how a recipe stands to the published run, and what the form beside it is called."""
    published = ".as_published" in words["name"]
    lines = []
    if words["differs"]:
        which = "the published run" if words["beside"] else "published runs of this method"
        lines.append(words["differs"] if published else f"differs from {which}: {words['differs']}")
    if words["beside"]:
        kind = "corrected form" if published else "as published"
        lines.append(f"{kind}: {', '.join(words['beside'])}")
    return lines
