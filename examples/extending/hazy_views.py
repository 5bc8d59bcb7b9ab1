# SPDX-License-Identifier: Apache-2.0
"""Views of one's own: two views of a place, the second under thin haze; and a recipe that shows them to MoCo v2.

Run it with:
ssl4eo pretrain --recipe examples/extending/hazy_views.py:HAZY --data A.zarr --out RUN --views.hazy.haze 600
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract
from ssl4eo.errors import ConfigInvalid
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.recipes.recipe import Recipe
from ssl4eo.recipes.table import recipe
from ssl4eo.views.config import ViewConfig
from ssl4eo.views.seasonal import Pairing

SEEN = {"B01": 1.0, "B02": 0.8, "B03": 0.55, "B04": 0.4, "B05": 0.35, "B08": 0.2}
"""How much of the haze a band sees; other bands see a tenth. Made up for this example."""


@dataclass(frozen=True)
class HazyView(ViewConfig):
    """A view with a veil: a constant added to the digital numbers, more in the blue."""

    haze: float = 0.0
    """Largest veil of the bluest band [DN]."""

    def __post_init__(self) -> None:
        """Refuse veils that darken; all other options are checked by the view itself."""
        super().__post_init__()
        if self.haze < 0:
            raise ConfigInvalid(f"views.hazy.haze is {self.haze}", expected="0 or more")

    def alter(self, rng: np.random.Generator, values: NDArray[Any], contract: InputContract) -> None:
        """Draw the veil of this view and add it in place, within the type of the values."""
        if contract.unit != "DN":
            raise ConfigInvalid(f"haze on values in {contract.unit}", expected="digital numbers of Sentinel-2")
        veil = rng.uniform(0, self.haze) * np.array([SEEN.get(band, 0.1) for band in contract.bands])
        values[...] = np.clip(values + veil[:, None, None], 0, 65_535)


@dataclass(frozen=True)
class ClearAndHazy:
    """Two views, as MoCo v2 wants them: clear, and hazy."""

    pairing: Pairing
    """Seasons of the two views."""
    clear: ViewConfig
    """The first view."""
    hazy: HazyView
    """The second view."""

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """The views of one sample."""
        return (self.clear, self.hazy)

    @property
    def season_groups(self) -> tuple[int, ...]:
        """Each view has a season of its own."""
        return (0, 1)


def build(backbone: str, modality: str, name: str) -> PretrainConfig:
    """Take the small MoCo v2 of the library and change what it sees."""
    base = recipe("moco_v2.resnet18.s2l1c.tiny").build(backbone, modality, name)
    (view, _) = base.views.views
    hazy = HazyView(**{f.name: getattr(view, f.name) for f in dataclasses.fields(view)}, haze=400.0)
    return dataclasses.replace(base, views=ClearAndHazy(pairing=base.views.pairing, clear=view, hazy=hazy))


HAZY = Recipe("moco_v2.resnet18.s2l1c.hazy", "resnet18", "S2L1C", build, promise="not yet run", changes="thin haze")
