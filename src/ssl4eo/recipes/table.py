# SPDX-License-Identifier: Apache-2.0
"""All recipes by name, with what each promises. Names: <method>.<backbone>.<input>, `.tiny` for the CPU form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ssl4eo.errors import unknown_name
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.recipes import moco_v2

Build = Callable[[str, str, str], PretrainConfig]


@dataclass(frozen=True)
class Recipe:
    """A complete experiment and its promise."""

    name: str
    backbone: str
    modality: str
    build: Build
    promise: str
    """Hardware, time, expected score; says "not yet run" where nobody has."""

    def config(self) -> PretrainConfig:
        """Build the resolved config."""
        return self.build(self.backbone, self.modality, self.name)


_PUBLISHED = "100 epochs of 251,079 locations on 4 GPUs as published; not yet run here"


_TINY: Mapping[str, str] = MappingProxyType(
    {
        "moco_v2.resnet18.s2rgb": (
            "8,000 EuroSAT RGB tiles, 2 CPU cores, 15 minutes: k-NN 77.1 +- 0.5 %, untrained 48.5 +- 1.9 "
            "(2 seeds, commit 6adc5b4, benchmarks/results/eurosat_rgb.md)"
        ),
        "moco_v2.resnet18.s2l1c": (
            "run by `ssl4eo demo` on a synthetic planet with a short queue (benchmarks/results/LOG.md); "
            "on real Sentinel-2: benchmarks/results/real_raw_layout.md"
        ),
    }
)


def _rows() -> list[Recipe]:
    rows: list[Recipe] = []
    for backbone in ("resnet18", "resnet50"):
        for modality in ("S2L1C", "S2L2A", "S1GRD", "S2RGB"):
            name = f"moco_v2.{backbone}.{modality.lower()}"
            rows.append(Recipe(name, backbone, modality, moco_v2.published, _PUBLISHED))
            rows.append(Recipe(f"{name}.tiny", backbone, modality, moco_v2.tiny, _TINY.get(name, "not yet run")))
    return rows


RECIPES: Mapping[str, Recipe] = MappingProxyType({r.name: r for r in _rows()})


def recipe(name: str) -> Recipe:
    """Look a recipe up.

    Raises:
        UnknownName: no recipe is called that.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
