# SPDX-License-Identifier: Apache-2.0
"""What a run saw and what its network does, as figures with their words, from its recording.

Every part of a recording has either pictures or a line that says why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from ssl4eo.report.filters import filters_figure
from ssl4eo.report.insight import PARTS, Insight
from ssl4eo.report.names import file_stem
from ssl4eo.report.records import Run
from ssl4eo.report.style import Picture, picture
from ssl4eo.report.tiles import Row, Tile, tiles_figure

SYNTHETIC = "Synthetic data. "
MOST_HEADS = 8
"""Heads of which maps are drawn."""
_MOST_LETTERS = 20
"""Of a name."""
_HEAT = 0.62
"""Share of the color of a map over its image."""
_FEW = 3
"""Views that are drawn below each other, a column for each sample."""
_HIDDEN = 190
"""Gray of what is hidden."""


@dataclass(frozen=True)
class Inside:
    """One part of one run: pictures, or why there are none."""

    title: str
    pictures: tuple[Picture, ...]
    reason: str = ""


@dataclass(frozen=True)
class InsideRun:
    """All parts of one run."""

    name: str
    lead: str
    parts: tuple[Inside, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in order."""
        return tuple(p for part in self.parts for p in part.pictures)


def inside_runs(runs: Sequence[Run], missing: list[str]) -> tuple[InsideRun, ...]:
    """Draw what is recorded of each pre-training run; what was never recorded is added to `missing`."""
    names: set[str] = set()
    found: list[InsideRun] = []
    for run in runs:
        if run.config is None:
            continue
        if run.insight is None:
            missing.append(
                f"Run {run.name} has no recording of its views, filters, attention and neighbors: "
                "`ssl4eo report` makes one, with --archive one that shows images."
            )
            continue
        if "everything" in run.insight.absent:
            missing.append(f"Run {run.name}: {run.insight.absent['everything']}.")
            continue
        parts = tuple(_part(run, run.insight, part, title, names) for part, title in PARTS.items())
        found.append(InsideRun(run.name, _lead(run.insight), parts))
    return tuple(found)


def _lead(insight: Insight) -> str:
    facts, words = insight.facts, []
    step = facts.get("step")
    if insight.has("filters") or insight.has("attention") or insight.has("neighbors"):
        words.append(f"{facts.get('method')} with {facts.get('backbone')} after step {step or 0:,}.")
    if facts.get("title"):
        words.append(f"Images: {facts['title']}.")
        if not facts.get("same_data"):
            words.append("They are not those that the run was trained on, or not all of them.")
    return " ".join([*words, *(f"Note: {text}." for text in insight.notes)])


def _part(run: Run, insight: Insight, part: str, title: str, names: set[str]) -> Inside:
    if not insight.has(part):
        return Inside(title, (), insight.absent.get(part, "not recorded"))
    stem = file_stem(f"{part}-{run.name}", names)
    return Inside(title, tuple(_DRAW[part](insight, stem)))


def _said(insight: Insight) -> str:
    return SYNTHETIC if insight.synthetic else ""


def _rows_of_views(insight: Insight, composite: int) -> list[list[NDArray[np.uint8]]]:
    """Give the pictures of each sample, view by view."""
    views = [insight.arrays[f"views.{v}"] for v in range(insight.num_views)]
    return [[view[n, composite] for view in views] for n in range(len(views[0]))]


def _view_titles(insight: Insight) -> list[str]:
    views = [insight.arrays[f"views.{v}"] for v in range(insight.num_views)]
    sizes = [view.shape[2] for view in views]
    if len(views) == 1:
        return [f"view, {sizes[0]} px"]
    local = ["local " if insight.facts.get("method") == "DINO" and v > 1 else "" for v in range(len(views))]
    return [
        f"{kind}view {v + 1}" + ("" if size == sizes[0] else f", {size} px")
        for v, (kind, size) in enumerate(zip(local, sizes, strict=True))
    ]


def _views(insight: Insight, stem: str) -> list[Picture]:
    """Draw samples by views in the first composite, and one sample in all composites."""
    ids, seasons = insight.arrays["views.ids"], insight.arrays["views.seasons"]
    first, step = insight.composites[0], insight.facts.get("views_step") or 0
    titles, samples = _view_titles(insight), _rows_of_views(insight, 0)
    names = [_short(name) for name in ids]
    if insight.num_views <= _FEW:  # views below each other: columns of two pictures would be long
        rows = [
            Row(title, [Tile(s[v], _season(insight, int(d[v]))) for s, d in zip(samples, seasons, strict=True)])
            for v, title in enumerate(titles)
        ]
        titles = names
    else:
        rows = [
            Row(name, [Tile(image, _season(insight, int(d))) for image, d in zip(sample, dates, strict=True)])
            for name, sample, dates in zip(names, samples, seasons, strict=True)
        ]
    caption = (
        f"{_said(insight)}Views of {len(samples)} samples of step {step + 1:,}, made again by the run's own config "
        f"and seed, after all changes. Drawn: {first}; views of a sample share one stretch, so brightness compares."
    )
    alt = f"Augmented views of {len(samples)} samples, {insight.num_views} each, in {first}."
    found = [
        picture(
            stem, tiles_figure(rows, titles, synthetic=insight.synthetic), alt, caption, synthetic=insight.synthetic
        )
    ]
    if len(insight.composites) > 1:
        found.append(_bands(insight, "bands-" + stem.removeprefix("views-")))
    return found


def _bands(insight: Insight, stem: str) -> Picture:
    """Draw all composites: of the first view of each sample, or where there are many views of those of one sample."""
    kinds = insight.composites
    samples = [_rows_of_views(insight, g) for g in range(len(kinds))]
    if insight.num_views <= _FEW:
        tiles = [[Tile(sample[0]) for sample in kind] for kind in samples]
        columns = [_short(name) for name in insight.arrays["views.ids"]]
        what = "The first view of each sample"
    else:
        tiles = [[Tile(view) for view in kind[0]] for kind in samples]
        columns, what = _view_titles(insight), f"The views of the first sample, {insight.arrays['views.ids'][0]},"
    rows = [Row(title, row) for title, row in zip(kinds, tiles, strict=True)]
    figure = tiles_figure(rows, columns, synthetic=insight.synthetic)
    caption = f"{_said(insight)}{what} in all groups of bands that the network is fed."
    alt = f"{what} in {len(rows)} composites: {', '.join(kinds)}."
    return picture(stem, figure, alt, caption, synthetic=insight.synthetic)


def _short(name: object) -> str:
    """Name an item below its picture: of a path the file alone, of a long name the end."""
    text = str(name).rsplit("/", 1)[-1]
    text = text.rsplit(".", 1)[0] or text
    return text if len(text) <= _MOST_LETTERS else "..." + text[3 - _MOST_LETTERS :]


def _season(insight: Insight, season: int) -> str:
    """Say a date by its number from 0, as everywhere; nothing of images that have one only."""
    return "" if insight.facts.get("num_seasons") == 1 else f"season {season}"


def _masks(insight: Insight, stem: str) -> list[Picture]:
    """Draw views and what is left of them."""
    images, masks = insight.arrays["views.0"][:, 0], insight.arrays["masks"]
    side = round(masks.shape[1] ** 0.5)
    hidden = [_enlarge(mask.reshape(side, side), image.shape[0]) for mask, image in zip(masks, images, strict=True)]
    left = [np.where(h[:, :, None], np.uint8(_HIDDEN), image) for h, image in zip(hidden, images, strict=True)]
    rows = [Row("view", [Tile(i) for i in images]), Row("seen", [Tile(i) for i in left])]
    columns = [_short(i) for i in insight.arrays["views.ids"]]
    share = float(masks.mean())
    caption = (
        f"{_said(insight)}Gray is hidden: {100 * share:.0f} % of {masks.shape[1]} patches, drawn for each sample by "
        "the run's own masks at that step."
    )
    alt = f"Views of {len(images)} samples above, and below the same with {100 * share:.0f} % of the patches hidden."
    figure = tiles_figure(rows, columns, synthetic=insight.synthetic)
    return [picture(stem, figure, alt, caption, synthetic=insight.synthetic)]


def _enlarge(grid: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Enlarge a square grid to `size` pixels a side without mixing values."""
    at = np.arange(size) * grid.shape[0] // size
    return grid[at][:, at]


_UNDONE: Mapping[str, str] = MappingProxyType(
    {
        "none": "The network predicts pixels as they are.",
        "patch": "The network predicts pixels minus their patch's mean, over its deviation: both are given back from "
        "the true patch.",
        "band": "The network predicts pixels minus the mean of their patch and band, over its deviation: both are "
        "given back from the true patch.",
    }
)


def _reconstruction(insight: Insight, stem: str) -> list[Picture]:
    names = ("original", "hidden", "predicted")
    forms = [insight.arrays[f"reconstruction.{name}"] for name in names]
    errors = insight.arrays["reconstruction.errors"]
    titles = ("original", "seen", "predicted")
    rows = [Row(title, [Tile(image) for image in form]) for title, form in zip(titles, forms, strict=True)]
    last = rows[-1]
    rows[-1] = Row(last.title, [Tile(t.image, f"error {e:.3f}") for t, e in zip(last.tiles, errors, strict=True)])
    caption = (
        f"{_said(insight)}Original, what the encoder saw, and the decoder's prediction of what was hidden (visible "
        f"patches are the original's). {_UNDONE.get(str(insight.facts.get('norm_pixels')), '')} Error: mean absolute "
        "difference over hidden pixels of all bands, in units of the network's input."
    )
    alt = f"{len(errors)} views: original, with hidden patches, and reconstructed; mean error {errors.mean():.3f}."
    columns = [_short(i) for i in insight.arrays.get("views.ids", np.array([""] * len(errors)))]
    figure = tiles_figure(rows, columns, synthetic=insight.synthetic)
    return [picture(stem, figure, alt, caption, synthetic=insight.synthetic)]


def _attention(insight: Insight, stem: str) -> list[Picture]:
    images, maps = insight.arrays["attention.images"], insight.arrays["attention.maps"]
    own, ids = insight.arrays["attention.own"], insight.arrays["attention.ids"]
    heads = min(maps.shape[1], MOST_HEADS)
    rows: list[Row] = []
    for image, parts, kept, name in zip(images, maps, own, ids, strict=True):
        heat = [_over(image, part) for part in (parts.mean(axis=0), *parts[:heads])]
        rows.append(Row(_short(name), [Tile(image), *map(Tile, heat)], f"keeps {100 * kept.mean():.0f} %"))
    more = "" if heads == maps.shape[1] else f" Drawn: {heads} of {maps.shape[1]} heads; the mean is of all."
    caption = (
        f"{_said(insight)}Attention of the class token in the last block over {maps.shape[2]} x {maps.shape[3]} "
        f"patches, each map from black (nothing) to its own largest value in yellow. Keeps: attention to itself, mean "
        f"of all heads.{more}"
    )
    alt = f"{len(images)} images with maps of where {heads} attention heads look, and their mean."
    columns = ["image", "mean", *(f"head {h + 1}" for h in range(heads))]
    figure = tiles_figure(rows, columns, synthetic=insight.synthetic)
    return [picture(stem, figure, alt, caption, synthetic=insight.synthetic)]


def _over(image: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map (g, g) in colors over the gray form of an image (S, S, 3)."""
    scaled = np.nan_to_num(weights / max(float(weights.max()), 1e-12))
    color = mpl.colormaps["inferno"](_enlarge(scaled, image.shape[0]))[:, :, :3] * 255
    gray = image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    return (_HEAT * color + (1 - _HEAT) * gray).round().astype(np.uint8)


def _neighbors(insight: Insight, stem: str) -> list[Picture]:
    pictures, cosines = insight.arrays["neighbors.pictures"], insight.arrays["neighbors.cosines"]
    ids, seasons = insight.arrays["neighbors.ids"], insight.arrays["neighbors.seasons"]
    rows: list[Row] = []
    for images, near, names, dates in zip(pictures, cosines, ids, seasons, strict=True):
        words = [
            ", ".join(filter(None, (_short(n), _season(insight, int(d))))) for n, d in zip(names, dates, strict=True)
        ]
        likeness = ["", *(f"\ncosine {c:.4f}" for c in near)]
        rows.append(Row("", [Tile(i, w + c) for i, w, c in zip(images, words, likeness, strict=True)]))
    caption = (
        f"{_said(insight)}Each row: an image, and those whose features point in the direction nearest to its own, best "
        f"first, among {insight.facts.get('num_bank') or 0:,} images, one of each place, whole patches without "
        "augmentation. Pictures of a row share one stretch."
    )
    alt = f"{len(rows)} images, each with its {cosines.shape[1]} nearest neighbors by features."
    columns = ["image", *(f"neighbor {k + 1}" for k in range(cosines.shape[1]))]
    figure = tiles_figure(rows, columns, synthetic=insight.synthetic)
    return [picture(stem, figure, alt, caption, synthetic=insight.synthetic)]


def _filters(insight: Insight, stem: str) -> list[Picture]:
    weights, norms = insight.arrays["filters.weights"], insight.arrays["filters.norms"]
    bands, count = [str(b) for b in insight.arrays["filters.bands"]], int(insight.arrays["filters.count"])
    title = f"{insight.facts.get('backbone')}, step {insight.facts.get('step') or 0:,}"
    figure = filters_figure(weights, bands, title=title, norms=norms)
    caption = (
        f"The {len(weights)} strongest of {count} filters of the first layer, band by band: blue negative, red "
        "positive, each filter on one scale over its bands. Bars: norm of each band's weights over all filters."
    )
    strongest = bands[int(np.argmax(norms))]
    alt = f"First-layer filters of {len(bands)} bands; the band with the largest norm is {strongest}."
    return [picture(stem, figure, alt, caption, synthetic=insight.synthetic)]


_DRAW: Mapping[str, Callable[[Insight, str], list[Picture]]] = MappingProxyType(
    {
        "views": _views,
        "masks": _masks,
        "reconstruction": _reconstruction,
        "attention": _attention,
        "neighbors": _neighbors,
        "filters": _filters,
    }
)
