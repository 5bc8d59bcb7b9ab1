# SPDX-License-Identifier: Apache-2.0
"""What stays the same at a location through the year: materials, texture, slopes.

Made once a location from the painted canvas, then seen by each date's optics and radar.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.synthetic.canvas import Canvas
from ssl4eo.collection.synthetic.chance import Index, Plane, Stream, wave
from ssl4eo.collection.synthetic.materials import COVER, GLINT, HIGH, LOW, ROWS
from ssl4eo.collection.synthetic.noise import gradient, grain, smooth, surface


@dataclass(frozen=True, eq=False)
class Ground:
    """The lasting state of one location; planes are (y, x) on the 10 m grid."""

    material: Index
    cover: NDArray[np.uint8]
    """Values of LANDCOVER."""
    texture: Plane
    """Position between the two spectra of the material, about 0 +- 0.2."""
    glint: Plane
    """Lasting differences of backscatter between neighbors [dB]."""
    height: Plane
    """Height above an arbitrary level [m]."""
    toward_south: Plane
    """Rise toward the south, 1 = 45 degrees; 0 on water."""
    toward_east: Plane
    """Rise toward the east, the same."""
    soil: str
    """Spectrum of the fields' soil."""

    @property
    def size(self) -> int:
        """Pixels on one axis."""
        return self.cover.shape[0]


def lasting(canvas: Canvas, chance: Stream) -> Ground:
    """Finish a canvas: texture from materials, slopes from relief."""
    size, material = canvas.size, canvas.material
    cover = COVER.take(material)
    land = (cover != 0).astype(np.float32)
    fine, wide = grain(chance, size), surface(chance, size, chance.number(10, 26))
    rows = wave(canvas.along * np.float32(1 / chance.number(2.8, 5.5)))
    texture = wide * LOW.take(material) + fine * HIGH.take(material) + rows * ROWS.take(material)
    south, east = gradient(smooth(canvas.relief) * np.float32(0.1))
    return Ground(
        material=material,
        cover=cover,
        texture=texture,
        glint=grain(chance, size) * GLINT.take(material),
        height=canvas.relief,
        toward_south=south * land,
        toward_east=east * land,
        soil=canvas.soil,
    )
