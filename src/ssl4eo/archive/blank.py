# SPDX-License-Identifier: Apache-2.0
"""Images that show nothing: no network can learn from them, and no other image tells that they are there."""

from __future__ import annotations

from ssl4eo.archive.reader import Archive


def blank_locations(archive: Archive) -> list[str]:
    """List the ids of locations with an image of nothing but zeros, in any modality and season, in their order.

    Only images that packing marked as not valid are read.

    Raises:
        ShardCorrupt: such an image cannot be read.
    """
    blank = {
        location
        for name in archive.modalities
        for location, season in archive.flagged(name)
        if not any(pixels.any() for pixels in archive.read_pixels(name, index=location, season=season).values())
    }
    return [archive.ids[location] for location in sorted(blank)]
