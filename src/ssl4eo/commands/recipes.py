# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo recipes list|show|compare`: what can be run, all that it decides, and in what two of them differ."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssl4eo.commands.actions import Action, Actions
from ssl4eo.errors import unknown_name
from ssl4eo.extension import is_own

if TYPE_CHECKING:
    from ssl4eo.recipes.recipe import Recipe

PUBLISHED = "as_published"
_ABSENT = object()


def list_recipes(
    *,
    method: str | None = None,
    backbone: str | None = None,
    modality: str | None = None,
    form: str | None = None,
    json: bool = False,
) -> int:
    """List recipes with what they read and what they promise: all, or those that fit.

    Args:
        method: such as moco_v2.
        backbone: such as resnet18.
        modality: of the input, such as S2L2A or s2l1c_s1grd.
        form: full, for GPUs; tiny, for minutes on a CPU; as_published, with the defects of the published run.
        json: print JSON for programs.
    """
    from ssl4eo.recipes.table import RECIPES, beside

    chosen = _chosen(list(RECIPES.values()), {"method": method, "backbone": backbone, "input": modality, "form": form})
    if json:
        rows = [_words(r, beside(r.name)) | {"modality": r.modality} for r in chosen]
        print(jsonlib.dumps(rows, indent=2))  # noqa: T201 - the result
        return 0
    table = Table("recipe", "reads", "promise")
    for row in chosen:
        table.add_row(row.name, row.modality, row.promise)
    _console().print(table if chosen else f"none of the {len(RECIPES)} recipes is all of this")
    return 0


def _chosen(recipes: Sequence[Recipe], wanted: Mapping[str, str | None]) -> list[Recipe]:
    """Give the recipes that fit.

    Raises:
        UnknownName: none has such a method, network or input.
    """
    chosen = list(recipes)
    for kind, value in wanted.items():
        if value is None:
            continue
        known = {spelling for r in recipes for spelling in _spellings(r, kind)}
        if value.lower() not in known:
            raise unknown_name(f"{kind} of a recipe", value, sorted(known))
        chosen = [r for r in chosen if value.lower() in _spellings(r, kind)]
    return chosen


def _spellings(recipe: Recipe, kind: str) -> tuple[str, ...]:
    """Give what a recipe may be chosen by: an input is its modality, or spelled as in its name."""
    method, backbone, modality, *form = recipe.name.split(".")
    forms = {"": "full", "tiny": "tiny"}
    found = {"method": method, "backbone": backbone, "input": modality, "form": forms.get("".join(form), PUBLISHED)}
    return (found[kind], recipe.modality.lower()) if kind == "input" else (found[kind],)


def show_recipe(name: str, *, backbone: str | None = None, json: bool = False) -> int:
    """Show a recipe with its whole resolved config and its promise.

    Args:
        name: of the recipe, such as moco_v2.resnet50.s2l1c, or module:name of your own.
        backbone: show the recipe around another network, if its method can take it.
        json: print JSON for programs.
    """
    from ssl4eo.pretraining.config import flatten
    from ssl4eo.recipes.table import beside, full_form, recipe

    found = recipe(name).with_backbone(backbone)
    words, config = _words(found, () if is_own(name) else beside(found.name)), found.config().to_json()
    if json:
        print(jsonlib.dumps(words | {"config": config}, indent=2))  # noqa: T201 - the result
        return 0
    console = _console()
    console.print(f"[bold]{found.name}[/]\n{found.promise}", highlight=False)
    for line in _differences(words, None if is_own(name) else full_form(found.name)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()
    for key, value in flatten(config).items():
        console.print(f"  {key} = {value!r}", highlight=False, markup=False)
    return 0


def compare_recipes(first: str, second: str, *, json: bool = False) -> int:
    """Show every option in which two recipes differ, such as a full form and its tiny one.

    Args:
        first: name of a recipe, such as moco_v2.resnet50.s2l1c, or module:name of your own.
        second: name of another.
        json: print JSON for programs; what a recipe does not have is left out there.
    """
    from ssl4eo.pretraining.config import flatten
    from ssl4eo.recipes.table import recipe

    names = (first, second)
    sides = [flatten(recipe(name).config().to_json() | {"recipe": ""}) for name in names]
    keys = [key for key in sides[0] | sides[1] if sides[0].get(key, _ABSENT) != sides[1].get(key, _ABSENT)]
    if json:
        rows = [
            {"name": n, "options": {k: side[k] for k in keys if k in side}}
            for n, side in zip(names, sides, strict=True)
        ]
        print(jsonlib.dumps(dict(zip(("first", "second"), rows, strict=True)), indent=2))  # noqa: T201 - the result
        return 0
    table = Table("option", *names)
    for key in keys:
        table.add_row(key, *(Text(repr(side[key]) if key in side else "") for side in sides))
    _console().print(table if keys else "no option differs")
    return 0


ACTIONS = Actions(
    "recipes",
    "List recipes, show one in full, or compare two.",
    {
        "list": Action(list_recipes, "what can be run", "list --method moco_v2 --form tiny"),
        "show": Action(show_recipe, "all that one decides", "show moco_v2.resnet50.s2l1c"),
        "compare": Action(
            compare_recipes, "in what two differ", "compare moco_v2.resnet50.s2l1c moco_v2.resnet50.s2l1c.as_published"
        ),
    },
    is_name=lambda word: word.count(".") > 1,
)
build_parser, run_parsed = ACTIONS.build_parser, ACTIONS.run_parsed


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _words(found: Recipe, siblings: tuple[str, ...]) -> dict[str, Any]:
    return {"name": found.name, "promise": found.promise, "differs": found.differs, "beside": list(siblings)}


def _differences(words: dict[str, Any], full: str | None) -> list[str]:
    """Say how a recipe stands to the published run, what the form beside it is called, and how to compare them."""
    published = ".as_published" in words["name"]
    lines = []
    if words["differs"]:
        which = "the published run" if words["beside"] else "published runs of this method"
        lines.append(words["differs"] if published else f"differs from {which}: {words['differs']}")
    if words["beside"]:
        kind = "corrected form" if published else "as published"
        named = [f"{other}{_other_length(other, words['name'])}" for other in words["beside"]]
        lines.append(f"{kind}: {', '.join(named)}")
    others = filter(None, [*words["beside"], full])
    lines.extend(f"option by option: ssl4eo recipes compare {other} {words['name']}" for other in others)
    return lines


def _other_length(name: str, here: str) -> str:
    """Say, in brackets, where another recipe has other epochs or another batch than this one; nothing if it has not."""
    from ssl4eo.recipes.table import recipe

    theirs, ours = recipe(name).config().engine, recipe(here).config().engine
    options = ("epochs", "batch_size")
    differing = [option for option in options if getattr(theirs, option) != getattr(ours, option)]
    told = [f"engine.{option} {getattr(theirs, option)}, here {getattr(ours, option)}" for option in differing]
    return f" ({'; '.join(told)})" if told else ""
