# SPDX-License-Identifier: Apache-2.0
"""All recipes by name, and those of the user's own by `module:name`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.errors import unknown_name
from ssl4eo.extension import is_own, load_own, require_own
from ssl4eo.recipes import data2vec, dino, mae, moco_v2, moco_v3
from ssl4eo.recipes.recipe import Recipe

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {r.name: r for module in (moco_v2, moco_v3, dino, mae, data2vec) for r in module.recipes()}
)


def recipe(name: str) -> Recipe:
    """Look a recipe up.

    Args:
        name: of the table; or `module:name` or `file.py:name` of a Recipe of one's own.

    Raises:
        UnknownName: no recipe is called that.
        ConfigInvalid, DataMissing: a recipe of one's own that cannot be had, or is none.
    """
    if is_own(name):
        found = load_own("recipe", name, fits=_is_recipe)
        require_own("recipe", name, found, expected="a ssl4eo.recipes.recipe.Recipe", fits=_is_recipe(found))
        return found
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, lister="ssl4eo recipes list")
    return RECIPES[name]


def _is_recipe(found: object) -> bool:
    return isinstance(found, Recipe)


def beside(name: str) -> tuple[str, ...]:
    """Name the published forms of a corrected recipe, or the corrected form of a published one; none of others.

    Args:
        name: what the recipe calls itself; one of the user's own has none beside it.

    Raises:
        UnknownName: no recipe of the table is called that.
    """
    corrected = ".".join(recipe(name).name.split(".")[:3])
    published = tuple(other for other in RECIPES if other.startswith(f"{corrected}.as_published"))
    if name in published:
        return (corrected,)
    return published if name == corrected else ()


def full_form(name: str) -> str | None:
    """Name the recipe that a tiny one is the small form of; None for others.

    >>> full_form("mae.vit_small_16.s2l1c.tiny"), full_form("mae.vit_small_16.s2l1c")
    ('mae.vit_small_16.s2l1c', None)
    """
    full = name.removesuffix(".tiny")
    return full if full != name and full in RECIPES else None
