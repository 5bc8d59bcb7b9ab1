# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo recipes list|show`: what can be run, and all that it decides."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Literal

from rich.console import Console
from rich.table import Table

from ssl4eo.errors import ConfigInvalid


def run(action: Literal["list", "show"], name: str | None = None, *, json: bool = False) -> int:
    """List recipes, or show one with its whole resolved config and its promise.

    Args:
        action: list all, or show one.
        name: of the recipe to show, such as moco_v2.resnet50.s2l1c.
        json: print JSON for programs.
    """
    from ssl4eo.pretraining.config import flatten
    from ssl4eo.recipes.table import RECIPES, recipe

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    if action == "list":
        if name is not None:
            raise ConfigInvalid(f"recipes list {name}", expected="no name", remedy=f"did you mean recipes show {name}?")
        rows = [{"name": r.name, "modality": r.modality, "promise": r.promise} for r in RECIPES.values()]
        if json:
            print(jsonlib.dumps(rows, indent=2))  # noqa: T201 - the result
            return 0
        table = Table("recipe", "reads", "promise")
        for row in rows:
            table.add_row(row["name"], row["modality"], row["promise"])
        console.print(table)
        return 0
    if name is None:
        raise ConfigInvalid("recipes show without a name", expected="one of `ssl4eo recipes list`")
    found = recipe(name)
    config = found.config().to_json()
    if json:
        print(jsonlib.dumps({"name": found.name, "promise": found.promise, "config": config}, indent=2))  # noqa: T201 - the result
        return 0
    console.print(f"[bold]{found.name}[/]\n{found.promise}\n", highlight=False)
    for key, value in flatten(config).items():
        console.print(f"  {key} = {value!r}", highlight=False)
    return 0
