# SPDX-License-Identifier: Apache-2.0
"""All recipes by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.errors import unknown_name
from ssl4eo.recipes import data2vec, dino, mae, moco_v2, moco_v3
from ssl4eo.recipes.recipe import Recipe

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {r.name: r for module in (moco_v2, moco_v3, dino, mae, data2vec) for r in module.recipes()}
)


def recipe(name: str) -> Recipe:
    """Look a recipe up.

    Raises:
        UnknownName: no recipe is called that.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, lister="ssl4eo recipes list")
    return RECIPES[name]


def beside(name: str) -> tuple[str, ...]:
    """Name the published forms of a corrected recipe, or the corrected form of a published one; none of others.

    Raises:
        UnknownName: no recipe is called that.
    """
    corrected = ".".join(recipe(name).name.split(".")[:3])
    published = tuple(other for other in RECIPES if other.startswith(f"{corrected}.as_published"))
    if name in published:
        return (corrected,)
    return published if name == corrected else ()
