# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes around a point, named as the agencies name theirs; their pixels are in `ground_truth.py`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ground_truth import PHASE_30, TILE_M, Truth, code_of
from rasterio.warp import transform as warp_points

from ssl4eo.collection.remote.patch_grid import utm_zone


def scenes_at(
    lon: float,
    lat: float,
    times: Sequence[dt.datetime],
    *,
    modalities: Sequence[str] = ("S1GRD", "S2L1C", "S2L2A"),
    crs: str | None = None,
    **facts: int | bool | str | None,
) -> list[Truth]:
    """Make one scene a time and modality whose tile has a point near its middle, named as the agency names them.

    Radar comes two days after the optical scenes. L1C and L2A of one time share their tile and their clouds only where
    their product ids do, which is never: as in life, the masks differ.

    Args:
        lon: of the point [deg, WGS 84].
        lat: of the point [deg, WGS 84].
        times: of the optical scenes [UTC].
        modalities: those to make.
        crs: zone of the tile, None for the point's own.
        facts: further fields of `Truth`, for all of them.
    """
    zone = crs or utm_zone(lon, lat)
    xs, ys = warp_points("EPSG:4326", zone, [lon], [lat])[:2]
    left, top = (int(v) // 60 * 60 for v in (xs[0] - TILE_M / 2, ys[0] + TILE_M / 2))
    tile = f"T{zone[-2:]}{'N' if zone[5:8] == '326' else 'M'}{_letters(code_of(f'{left} {top}'))}"
    scenes: list[Truth] = []
    for time in times:
        for name in modalities:
            taken = time + dt.timedelta(days=2) if name == "S1GRD" else time
            beside = PHASE_30 if name.startswith("L") else 0
            scene = Truth(_product_id(name, taken, tile, facts), name, zone, left + beside, top - beside, taken)
            scenes.append(replace(scene, **facts))  # type: ignore[arg-type]
    return scenes


def _letters(number: int) -> str:
    return "".join(chr(ord("A") + digit % 26) for digit in (number, number // 26))


def _product_id(modality: str, time: dt.datetime, tile: str, facts: Mapping[str, object]) -> str:
    stamp = f"{time:%Y%m%dT%H%M%S}"
    if modality == "S1GRD":
        end = f"{time + dt.timedelta(seconds=25):%Y%m%dT%H%M%S}"
        number = code_of(f"{stamp} {tile}")
        return f"S1A_IW_GRDH_1SDV_{stamp}_{end}_{number % 10**6:06d}_{number % 0xFFFFFF:06X}_{number % 0xFFFF:04X}"
    if modality.startswith("S2"):
        baseline = int(str(facts.get("baseline", 300)))
        return f"S2A_MSI{modality[2:]}_{stamp}_N{baseline:04d}_R065_{tile}_{stamp}"
    level = "L2SP" if modality.endswith("SR") else "L1TP"
    return f"LC08_{level}_{code_of(tile) % 1000000:06d}_{time:%Y%m%d}_{time:%Y%m%d}_02_T1"
