# SPDX-License-Identifier: Apache-2.0
"""One image as a picture: uint8 (y, x, 3), or (y, x, 4) with pixels without data transparent."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ssl4eo.errors import UnknownName
from ssl4eo.pictures.composites import Composite, composite_of
from ssl4eo.pictures.stretches import GAMMA, Limits, limits_of, stretched
from ssl4eo.pictures.values import channels, kind_of

if TYPE_CHECKING:
    from ssl4eo.sample import Image

NO_DATA_GRAY = 128
_RAMP = np.array(
    [(84, 48, 5), (191, 129, 45), (246, 232, 195), (199, 234, 229), (90, 174, 97), (0, 90, 50)], np.float32
)
"""Brown over pale to green, evenly spaced, for an index; after ColorBrewer (Apache-2.0)."""


def render(
    image: Image,
    composite: str | Composite | None = None,
    *,
    stretch: str = "own",
    limits: Limits | None = None,
    nodata: Literal["transparent", "gray"] = "transparent",
) -> NDArray[np.uint8]:
    """Draw an image on its finest grid.

    Args:
        image: any modality, in any form.
        composite: name such as `true-color` or `band:B11`; None for the first that its bands allow.
        stretch: `fixed`, `own`, or `shared`, which with one image alone is the same as own.
        limits: values that become black and white, as `limits_of` gives them for several images together.
        nodata: how pixels that were not observed look.

    Returns:
        uint8 (y, x, 4) for transparent, (y, x, 3) for gray.

    Raises:
        UnknownName: no such composite of these bands, or no such stretch.
    """
    if composite is None or isinstance(composite, str):
        composite = composite_of(image.modality, image.form.bands, composite)
    if nodata not in ("transparent", "gray"):
        raise UnknownName(f"nodata {nodata!r}", expected="transparent or gray")
    if limits is None:
        limits = limits_of([image], composite, stretch)
    values = channels(image, composite)
    missing = ~np.isfinite(values).all(axis=0)
    level = stretched(values, limits)
    if composite.index:
        colors = _ramp(level[0])
    else:
        if kind_of(image.modality, composite.bands[0]) == "reflectance":
            level **= GAMMA
        colors = np.moveaxis(np.broadcast_to(level, (3, *level.shape[1:])), 0, -1)
    picture = np.round(colors * 255).astype(np.uint8)
    picture[missing] = NO_DATA_GRAY
    if nodata == "gray":
        return picture
    alpha = np.where(missing, 0, 255).astype(np.uint8)
    return np.concatenate([picture, alpha[..., None]], axis=-1)


def _ramp(level: NDArray[np.float32]) -> NDArray[np.float32]:
    stops = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(level, stops, channel) for channel in (_RAMP / 255).T], axis=-1).astype(np.float32)


def resized(picture: NDArray[np.uint8], size: int | None) -> Pillow.Image:
    """Give a picture whose longer side is `size` [px], None as it is; pixels are repeated when it grows."""
    made = Pillow.fromarray(picture)
    if size is None or size == max(made.size):
        return made
    factor = size / max(made.size)
    target = tuple(max(1, round(side * factor)) for side in made.size)
    return made.resize(target, Pillow.Resampling.NEAREST if factor > 1 else Pillow.Resampling.BOX)  # pyright: ignore[reportArgumentType] - two sides


def encode(picture: NDArray[np.uint8] | Pillow.Image, kind: Literal["png", "webp"], *, quality: int = 80) -> bytes:
    """Give the bytes of a picture file: PNG without loss, WebP with a little."""
    made = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    if made.mode == "RGBA" and made.getchannel("A").getextrema()[0] == 255:
        made = made.convert("RGB")
    buffer = io.BytesIO()
    if kind == "png":
        made.save(buffer, "PNG", optimize=False)
    else:
        made.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
