# SPDX-License-Identifier: Apache-2.0
"""From STAC items to scenes: product ids, times, baselines, offsets, addresses; and each acquisition once.

Hosts spell the same facts differently; all spellings that are known are tried, in the order of these tables. An
acquisition that was processed again comes as several items: the newest baseline is kept, the others are named in the
scene's handle and in the log. Products of one baseline are all kept: a tile can be cut into two data strips.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssl4eo.collection.remote.service import Product, Scene
from ssl4eo.collection.remote.stac.profile import Profile
from ssl4eo.contract import offset_of_baseline

log = logging.getLogger(__name__)

_PRODUCT_PROPERTIES = ("s2:product_uri",)
_BASELINE_PROPERTIES = ("s2:processing_baseline", "processing:version")
_SENTINEL_2 = re.compile(r"(S2[A-Z])_MSIL(?:1C|2A)_(\d{8}T\d{6})_(?:N(\d{4})_)?(R\d{3})_(T\w{5})_(\d{8}T\d{6})\Z")
_BASELINE = re.compile(r"(\d\d)\.(\d\d)\Z")
_CODE = re.compile(r"EPSG:\d+\Z")


def scene_of(item: Mapping[str, Any], profile: Profile, product: Product, *, harmonize: bool) -> Scene | None:
    """Make the scene of an item; None where it lacks a time, an asset, or what tells its offset."""
    properties: Mapping[str, Any] = item.get("properties", {})
    time = _time(properties.get("start_datetime") or properties.get("datetime"))
    hrefs = _hrefs(item, profile, product)
    name = _product_id(item, properties)
    baseline = _baseline(properties, name)
    stored = stored_offset(profile, properties, baseline)
    if time is None or hrefs is None or stored is None:
        lacks = (
            "a time" if time is None else "an asset" if hrefs is None else "a baseline, which the +1000 DN depend on"
        )
        log.warning("%s is left out: it lacks %s", name, lacks)
        return None
    return Scene(
        product=name,
        modality=product.modality,
        time=time,
        cloud=_share(properties.get(product.cloud_property)),
        crs=_crs(properties),
        baseline=baseline,
        offset=0 if harmonize else stored,
        orbit=str(properties.get("sat:orbit_state") or ""),
        handle={
            "item": str(item.get("id", "")),
            "collection": str(item.get("collection") or product.collection),
            "hrefs": hrefs,
            "stored_offset": stored,
            "tile": str(properties.get("grid:code") or ""),
            "platform": str(properties.get("platform") or ""),
        },
    )


def stored_offset(profile: Profile, properties: Mapping[str, Any], baseline: int | None) -> int | None:
    """Give the constant in the numbers that the host stores [DN], by the profile's rule; None if nothing tells it."""
    flag = profile.offset.removeprefix("flag:")
    is_taken_away = profile.offset.startswith("flag:") and properties.get(flag) is True
    if profile.offset == "none" or is_taken_away:
        return 0
    return None if baseline is None else offset_of_baseline(baseline)


def _share(percent: object) -> float | None:
    """Give a share [0 to 1]; Landsat tells -1 where it does not know."""
    known = isinstance(percent, int | float) and not isinstance(percent, bool) and 0 <= percent <= 100
    return float(percent) / 100 if known else None  # type: ignore[arg-type]


def newest(scenes: Iterable[Scene]) -> list[Scene]:
    """Keep each product once, and of an acquisition those of the newest baseline; in order of time, then product."""
    by_product: dict[str, Scene] = {}
    for scene in scenes:
        by_product.setdefault(scene.product, scene)
    groups: dict[tuple[str, ...], list[Scene]] = {}
    for scene in by_product.values():
        groups.setdefault(_acquisition(scene), []).append(scene)
    kept = [scene for group in groups.values() for scene in _newest_of(group)]
    return sorted(kept, key=lambda scene: (scene.time, scene.product))


def _newest_of(group: Sequence[Scene]) -> list[Scene]:
    latest = max(scene.baseline or 0 for scene in group)
    old = sorted(scene.product for scene in group if (scene.baseline or 0) < latest)
    if not old:
        return list(group)
    kept = [scene for scene in group if (scene.baseline or 0) == latest]
    log.info("%s stands for %s, which was processed before", kept[0].product, ", ".join(old))
    return [_with(scene, supersedes=old) for scene in kept]


def _with(scene: Scene, **facts: Any) -> Scene:
    return dataclasses.replace(scene, handle={**scene.handle, **facts})


def _acquisition(scene: Scene) -> tuple[str, ...]:
    """Name what was seen: products with the same name differ in processing only."""
    match = _SENTINEL_2.match(scene.product)
    if match:
        return match[1], match[2], match[4], match[5]
    if scene.handle.get("tile") and scene.handle.get("platform"):
        return scene.handle["platform"], f"{scene.time:%Y%m%dT%H%M%S}", scene.handle["tile"]
    return (scene.product,)


def _product_id(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    told = next((properties[name] for name in _PRODUCT_PROPERTIES if properties.get(name)), item.get("id", ""))
    return str(told).removesuffix(".SAFE")


def _baseline(properties: Mapping[str, Any], product: str) -> int | None:
    for name in _BASELINE_PROPERTIES:
        match = _BASELINE.match(str(properties.get(name) or ""))
        if match:
            return int(match[1]) * 100 + int(match[2])
    match = _SENTINEL_2.match(product)
    return int(match[3]) if match and match[3] else None


def _crs(properties: Mapping[str, Any]) -> str:
    code = str(properties.get("proj:code") or "")
    if _CODE.match(code):
        return code
    epsg = properties.get("proj:epsg")
    return f"EPSG:{int(epsg)}" if isinstance(epsg, int | float) else ""


def _time(text: object) -> dt.datetime | None:
    try:
        time = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)


def _hrefs(item: Mapping[str, Any], profile: Profile, product: Product) -> dict[str, str] | None:
    """Give the address of each asset that is read; None where one is missing."""
    hrefs: dict[str, str] = {}
    for key in (*product.bands.values(), *((product.mask,) if product.mask else ())):
        asset: Mapping[str, Any] = item.get("assets", {}).get(key, {})
        if profile.alternate:
            asset = asset.get("alternate", {}).get(profile.alternate, {})
        href = str(asset.get("href") or "")
        if not href:
            return None
        wrong = next((start for start in profile.hrefs if href.startswith(start)), None)
        hrefs[key] = href if wrong is None else profile.hrefs[wrong] + href.removeprefix(wrong)
    return hrefs
