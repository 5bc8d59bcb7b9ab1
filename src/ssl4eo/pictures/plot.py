# SPDX-License-Identifier: Apache-2.0
"""`image.plot()`: an image on matplotlib axes, which are imported here and nowhere else in this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssl4eo.pictures.composites import composite_of
from ssl4eo.pictures.render import render

if TYPE_CHECKING:
    from ssl4eo.sample import Image


def plot(image: Image, composite: str | None = None, *, stretch: str = "own", axes: Any = None) -> Any:
    """Draw an image on axes, a new figure's where none are given; give the axes.

    Raises:
        UnknownName: no such composite of these bands, or no such stretch.
    """
    chosen = composite_of(image.modality, image.form.bands, composite)
    picture = render(image, chosen, stretch=stretch)
    if axes is None:
        from matplotlib import pyplot as plt

        axes = plt.figure(figsize=(5, 5)).add_subplot()
    axes.imshow(picture, interpolation="nearest")
    date = "" if image.time is None else f", {image.time:%Y-%m-%d}"
    axes.set_title(f"{image.modality}{date}: {chosen.title}", fontsize=10)
    axes.set_axis_off()
    return axes
