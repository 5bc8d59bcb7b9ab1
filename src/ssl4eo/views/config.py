# SPDX-License-Identifier: Apache-2.0
"""What the views of a sample are: how many, of what size and strength, and which of them share a season.

One class for each arrangement that a paper asks for; any other frozen dataclass with `pairing`, `views` and
`season_groups` does as well. Values only: compose.py draws and renders.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract
from ssl4eo.errors import ConfigInvalid
from ssl4eo.views.crop import check_scale
from ssl4eo.views.photometric import PhotometricConfig
from ssl4eo.views.seasonal import Pairing


@dataclass(frozen=True)
class ViewConfig:
    """One kind of view."""

    size: int
    """Height and width [px]."""
    scale: tuple[float, float]
    """Smallest and largest area of the crop, as a share of the patch."""
    blur_probability: float
    """Share of views that are blurred."""
    blur_sigma: tuple[float, float]
    """Smallest and largest standard deviation of the blur [px of the view]."""
    horizontal_flip: float
    """Probability of mirroring left to right."""
    vertical_flip: float
    """Probability of mirroring top to bottom; from above there is no up."""
    rotation: float
    """Probability of a quarter turn, left or right, after the mirrors."""
    photometric: PhotometricConfig
    """Brightness, contrast, gray."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        check_scale("views.view.scale", self.scale)
        if self.size < 1:
            raise ConfigInvalid(f"views.view.size is {self.size}", expected="1 px or more")
        if not 0 <= self.blur_sigma[0] <= self.blur_sigma[1] < math.inf:
            raise ConfigInvalid(f"views.view.blur_sigma is {self.blur_sigma}", expected="0 <= smallest <= largest")
        for name in ("blur_probability", "horizontal_flip", "vertical_flip", "rotation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigInvalid(f"views.view.{name} is {getattr(self, name)}", expected="0 to 1")

    def alter(self, rng: np.random.Generator, values: NDArray[Any], contract: InputContract) -> None:
        """Change the values of a rendered view in place; nothing by default: for views of one's own, by a subclass.

        Called on the worker, once a view, before values are scaled; whatever is drawn here comes after all other draws
        of the view, so that these stay as they are.

        Args:
            rng: of the view, a function of (seed, epoch, sample, view).
            values: (band, S, S) as stored, float32; of bands of whole numbers they are rounded and held in the range
                of the type afterwards.
            contract: what they are: bands in order, unit, offset.
        """
        del rng, values, contract


def option_of(views: Views, view: ViewConfig, error: ConfigInvalid) -> ConfigInvalid:
    """Let an error about a view name the option as an arrangement has it: views.local.scale, not views.view.scale."""
    held = next(name for name in views.__dataclass_fields__ if getattr(views, name, None) is view)
    return named_option(f"views.{held}", error)


def named_option(view: str, error: ConfigInvalid) -> ConfigInvalid:
    """Let an error about a view, which does not know its own name, say it.

    >>> named_option("views.local", ConfigInvalid("views.view.scale is 2")).found
    'views.local.scale is 2'
    >>> named_option("views.first", ConfigInvalid("views.photometric.speckle is 2")).found
    'views.first.photometric.speckle is 2'
    """
    error.found = re.sub(r"^views\.(view\.)?(?=photometric\.|\w+ )", f"{view}.", error.found)
    return error


@dataclass(frozen=True)
class OneView:
    """A single view, the input of MAE and data2vec."""

    pairing: Pairing
    """Which season it shows: random (as published), or fixed."""
    view: ViewConfig
    """The view."""

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """The views of one sample."""
        return (self.view,)

    @property
    def season_groups(self) -> tuple[int, ...]:
        """For each view the number of its draw of a season."""
        return (0,)


@dataclass(frozen=True)
class PairConfig:
    """Two views of one kind, the input of MoCo v2."""

    pairing: Pairing
    """Seasons of the two views: augment (as published), distinct, random, fixed."""
    view: ViewConfig
    """Both views."""

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """The views of one sample."""
        return (self.view, self.view)

    @property
    def season_groups(self) -> tuple[int, ...]:
        """For each view the number of its draw of a season."""
        return (0, 1)


@dataclass(frozen=True)
class TwoViews:
    """Two views of different strength, the input of MoCo v3."""

    pairing: Pairing
    """Seasons of the two views: augment (as published), distinct, random, fixed."""
    first: ViewConfig
    """The first view."""
    second: ViewConfig
    """The second view."""

    def __post_init__(self) -> None:
        """Refuse views of different size."""
        if self.first.size != self.second.size:
            raise ConfigInvalid(
                f"views.first.size is {self.first.size}, views.second.size {self.second.size}", expected="one size"
            )

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """The views of one sample."""
        return (self.first, self.second)

    @property
    def season_groups(self) -> tuple[int, ...]:
        """For each view the number of its draw of a season."""
        return (0, 1)


@dataclass(frozen=True)
class MultiCrop:
    """Two global views and some smaller local ones, the input of DINO."""

    pairing: Pairing
    """Seasons; with augment there are three draws: one for each global view, one for all local views."""
    first: ViewConfig
    """The first global view."""
    second: ViewConfig
    """The second global view."""
    local: ViewConfig
    """Each local view."""
    num_local: int
    """How many local views; 0 for none."""

    def __post_init__(self) -> None:
        """Refuse global views of different size, larger local ones, and more views than streams of random numbers."""
        if self.first.size != self.second.size:
            raise ConfigInvalid(
                f"views.first.size is {self.first.size}, views.second.size {self.second.size}", expected="one size"
            )
        if not 0 <= self.num_local <= 100:
            raise ConfigInvalid(f"views.num_local is {self.num_local}", expected="0 to 100")
        if self.num_local and self.local.size > self.first.size:
            raise ConfigInvalid(
                f"views.local.size is {self.local.size}, views.first.size {self.first.size}",
                expected="local views no larger than global ones",
            )

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """The views of one sample, the global ones first."""
        return (self.first, self.second, *[self.local] * self.num_local)

    @property
    def season_groups(self) -> tuple[int, ...]:
        """For each view the number of its draw of a season."""
        return (0, 1, *[2] * self.num_local)


class Views(Protocol):
    """An arrangement: a frozen dataclass of options that says which views a sample has."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def pairing(self) -> Pairing:
        """Which seasons the views show."""
        ...

    @property
    def views(self) -> tuple[ViewConfig, ...]:
        """The views of one sample, the first one as large as any."""
        ...

    @property
    def season_groups(self) -> tuple[int, ...]:
        """For each view the number of its draw of a season, from 0."""
        ...
