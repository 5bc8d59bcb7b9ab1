# SPDX-License-Identifier: Apache-2.0
"""RUN/insight.npz: pictures of what a run saw and of what its network does, as plain arrays that need no torch to draw.

One file holds all parts and a record in JSON: of which weights, config and data they are, and why a part is absent. It
is made again when one of these has changed, and kept as it is otherwise. Parts, by the beginning of their names:
`views`, `masks`, `reconstruction`, `attention`, `neighbors`, `filters`.
Shapes: N samples, G composites, S pixels, k neighbors.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid, Ssl4eoError, WriteFailed
from ssl4eo.files import atomic_path, require_writable
from ssl4eo.insight.attention import class_attention
from ssl4eo.insight.composites import composites, picture, stretch_of
from ssl4eo.insight.filters import strongest
from ssl4eo.insight.neighbors import NUM_NEIGHBORS, bank_places, features_of, nearest, query_rows
from ssl4eo.insight.network import Left, load_left, steps_done, weights_key
from ssl4eo.insight.reconstruct import hide, reconstruct
from ssl4eo.insight.seen import Seen, items_of_step, plain_views, seen_views
from ssl4eo.insight.source import Opened, open_source
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.methods.mae import MAE
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.run_folder import CONFIG, INSIGHT
from ssl4eo.pretraining.stored_config import METHODS, stored_config

VERSION = 1
NO_DATA = "no images were named (--archive)"
NO_NETWORK = "the network was left out (--no-network)"
_BATCH = 32
"""Images a forward pass."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass
class _Book:
    """What is being recorded."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Part -> why it is not there."""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    @contextlib.contextmanager
    def told(self, *parts: str) -> Generator[None]:
        """Turn an error into the reason why those of the parts that are not there yet are absent."""
        try:
            yield
        except Ssl4eoError as error:
            there = {name.split(".")[0] for name in self.arrays}
            self.absent |= {part: str(error) for part in parts if part not in there}


def record(
    run: Path,
    *,
    data: Path | None,
    samples: int = 6,
    network: bool = True,
    target: Path | None = None,
    progress: Progress | None = None,
) -> Path | None:
    """Record what can be recorded of a pre-training run, unless that was done; give the file.

    Args:
        run: folder of the run; None is given back if it trained nothing, as a folder of scores.
        data: archive or folder of pictures to show; None: only what needs no image, and what was recorded before.
        samples: of each kind of picture.
        network: whether to load and run the network.
        target: file to write, None for RUN/insight.npz.
        progress: of the forward passes.

    Raises:
        ConfigInvalid: no sample.
        WriteFailed: the folder cannot be written to.
        DataMissing, ArchiveInvalid, SourceInvalid: `data` is no readable archive or folder of pictures.
    """
    if samples < 1:
        raise ConfigInvalid(f"{samples} samples", expected="1 or more")
    stored = _stored(run)
    if stored is None:
        return None
    target = run / INSIGHT if target is None else target
    made_of = {
        "config": stored.get("config"),
        "weights": weights_key(run) if network else "",
        "samples": samples,
        "data": None,
    }
    book = _Book()
    try:
        config = stored_config(stored["config"])
    except (Ssl4eoError, KeyError) as error:
        book.absent["everything"] = f"config.json tells no run that can be made again: {error}"
        return _write(target, book, made_of)
    opened = None if data is None else open_source(data, config, stored["data"])
    made_of["data"] = None if opened is None or opened.source is None else opened.source.identity
    if _is_made(target, made_of, network=network, data=data):
        return target
    _fill(book, run, config, opened, samples=samples, network=network, progress=progress)
    return _write(target, book, made_of)


def _stored(run: Path) -> dict[str, Any] | None:
    """Read config.json; None where there is none, or none that the report can read either."""
    path = run / CONFIG
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # the report refuses it by name and line
    return values if isinstance(values, dict) and isinstance(values.get("data"), dict) else None


def _is_made(path: Path, wanted: Mapping[str, Any], *, network: bool, data: Path | None) -> bool:
    """Say whether what is recorded serves: it is of the same run and weights, and lacks nothing that is asked for."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = json.loads(str(file["record"]))
        made, version = found["made_of"], found["version"]
        if version != VERSION or made["config"] != json.loads(json.dumps(wanted["config"])):
            return False
        if data is None and made["data"] is not None:
            return True  # pictures of earlier weights say so; without images there would be none
        if made["weights"] != wanted["weights"] and network:
            return False
        return data is None or (made["data"], made["samples"]) == (wanted["data"], wanted["samples"])
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made again
        return False


def _write(target: Path, book: _Book, made_of: Mapping[str, Any]) -> Path:
    words = {"version": VERSION, "made_of": made_of, "absent": book.absent, **book.facts}
    require_writable(target)
    try:
        with atomic_path(target) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, record=np.array(json.dumps(words)), **book.arrays)
    except OSError as error:
        raise WriteFailed(f"{target} cannot be written ({error})", path=str(target)) from error
    return target


def _fill(
    book: _Book,
    run: Path,
    config: PretrainConfig,
    opened: Opened | None,
    *,
    samples: int,
    network: bool,
    progress: Progress | None,
) -> None:
    left = load_left(run, config) if network else Left(None, None, None, (NO_NETWORK,))
    step = left.step if left.step is not None else steps_done(run)
    book.facts |= {
        "method": METHODS[type(config.method)],
        "backbone": config.backbone,
        "step": step,
        "notes": list(left.notes) if network else [],
        "composites": [c.name for c in composites(config.contract)],
    }
    no_weights = "; ".join(left.notes)
    if left.backbone is None:
        book.absent["filters"] = no_weights
    else:
        book.arrays |= strongest(left.backbone)
    source, why = (None, NO_DATA) if opened is None else (opened.source, opened.trouble)
    if opened is not None:
        book.facts |= {"title": opened.title, "synthetic": opened.synthetic, "same_data": opened.is_same}
    if source is None:
        book.absent |= dict.fromkeys(("views", "masks", "reconstruction", "attention", "neighbors"), why)
    else:
        _of_images(book, config, source, left, step, samples, no_weights, progress)
    _what_does_not_apply(book, config)


def _of_images(
    book: _Book,
    config: PretrainConfig,
    source: PixelSource,
    left: Left,
    step: int,
    samples: int,
    no_weights: str,
    progress: Progress | None,
) -> None:
    """Record what needs images; what fails is told and leaves the rest."""
    shown = max(0, step - 1)
    needing = ("views", "masks", "reconstruction", "attention")
    with book.told(*needing):
        seen = seen_views(config, source, items_of_step(config, source, shown, samples))
        _views(book, config, seen, step=shown)
        if isinstance(left.method, MAE):
            _reconstruction(book, config, left.method, seen)
        else:
            book.absent["reconstruction"] = no_weights
        if left.backbone is None:
            book.absent["attention"] = no_weights
        elif left.backbone.patch is not None:
            _attention(book, config, source, left.backbone, seen)
    if left.backbone is None:
        book.absent["neighbors"] = no_weights
        return
    with book.told("neighbors"):
        _neighbors(book, config, source, left.backbone, samples, progress)


def _what_does_not_apply(book: _Book, config: PretrainConfig) -> None:
    """Say of parts that this method or network cannot have why, whatever else was lacking."""
    method = METHODS[type(config.method)]
    if config.method.masking(config.setting) is None:
        book.absent["masks"] = f"does not apply: {method} hides nothing"
    if method != "MAE":
        does = "predicts features, not pixels" if method == "data2vec" else "compares features and predicts no pixels"
        book.absent["reconstruction"] = f"does not apply: {method} {does}"
    if config.backbone.startswith("resnet"):
        book.absent["attention"] = f"does not apply: {config.backbone} is a residual network, without attention"


def _numpy(images: Tensor) -> list[NDArray[np.float32]]:
    return [image.numpy() for image in images]


def _views(book: _Book, config: PretrainConfig, seen: Seen, *, step: int) -> None:
    """Record `views.<v>` (N, G, S, S, 3) uint8, and masks (N, L)."""
    kinds = composites(config.contract)
    rows: list[list[NDArray[np.uint8]]] = [[] for _ in seen.views]
    for n in range(len(seen.items)):
        images = [view[n].numpy() for view in seen.views]
        stretches = [stretch_of(kind, images) for kind in kinds]
        for v, image in enumerate(images):
            rows[v].append(np.stack([picture(k, image, s) for k, s in zip(kinds, stretches, strict=True)]))
    book.arrays |= {f"views.{v}": np.stack(row) for v, row in enumerate(rows)}
    book.arrays |= {"views.ids": np.array(seen.ids), "views.seasons": seen.seasons.numpy()}
    book.facts["views_step"] = step
    if seen.masks is not None:
        book.arrays["masks"] = seen.masks.numpy()


def _reconstruction(book: _Book, config: PretrainConfig, mae: MAE, seen: Seen) -> None:
    """Record original, hidden and predicted pictures (N, S, S, 3) with one stretch, and the error of each sample."""
    assert seen.masks is not None, "MAE has masks"
    images, kind = seen.views[0], composites(config.contract)[0]
    predicted = reconstruct(mae, images, seen.masks)
    forms = {"original": images, "hidden": hide(images, seen.masks, mae.patch), "predicted": predicted}
    stretches = [stretch_of(kind, [image]) for image in _numpy(images)]
    for name, values in forms.items():
        book.arrays[f"reconstruction.{name}"] = np.stack(
            [picture(kind, image, s) for image, s in zip(_numpy(values), stretches, strict=True)]
        )
    hidden = torch.isnan(forms["hidden"])
    errors = ((predicted - images).abs() * hidden).sum(dim=(1, 2, 3)) / hidden.sum(dim=(1, 2, 3)).clamp_min(1)
    book.arrays["reconstruction.errors"] = errors.numpy()
    book.facts["norm_pixels"] = mae.config.norm_pixels


def _attention(book: _Book, config: PretrainConfig, source: PixelSource, backbone: Backbone, seen: Seen) -> None:
    """Record pictures (N, S, S, 3) and maps (N, heads, g, g) float32, with what the class token keeps (N, heads)."""
    places = [(item, int(season)) for item, season in zip(seen.items, seen.seasons[:, 0], strict=True)]
    images, kind = plain_views(config, source, places), composites(config.contract)[0]
    weights = class_attention(backbone, images)  # (N, heads, 1 + L)
    side = round((weights.shape[2] - 1) ** 0.5)
    book.arrays |= {
        "attention.images": np.stack([picture(kind, i, stretch_of(kind, [i])) for i in _numpy(images)]),
        "attention.maps": weights[:, :, 1:].unflatten(2, (side, side)).numpy(),
        "attention.own": weights[:, :, 0].numpy(),
        "attention.ids": np.array(seen.ids),
        "attention.seasons": seen.seasons[:, 0].numpy(),
    }


def _neighbors(
    book: _Book,
    config: PretrainConfig,
    source: PixelSource,
    backbone: Backbone,
    samples: int,
    progress: Progress | None,
) -> None:
    """Record pictures (Q, 1 + k, S, S, 3), the query first, with names (Q, 1 + k), seasons and cosines (Q, k)."""
    places = bank_places(len(source), source.num_seasons)
    rows = query_rows(len(places), samples)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(places), _BATCH):
            yield plain_views(config, source, places[start : start + _BATCH])

    step = None if progress is None else lambda done: progress(done, len(places))
    found, cosines = nearest(features_of(backbone, batches(), step), rows, NUM_NEIGHBORS)
    kind = composites(config.contract)[0]
    pictures: list[NDArray[np.uint8]] = []
    for row, others in zip(rows, found, strict=True):
        images = _numpy(plain_views(config, source, [places[i] for i in (row, *others)]))
        stretch = stretch_of(kind, images)
        pictures.append(np.stack([picture(kind, image, stretch) for image in images]))
    table = np.concatenate([np.array(rows)[:, None], found], axis=1)
    book.arrays |= {
        "neighbors.pictures": np.stack(pictures),
        "neighbors.cosines": cosines,
        "neighbors.ids": np.array([[source.id_of(places[i][0]) for i in row] for row in table]),
        "neighbors.seasons": np.array([[places[i][1] for i in row] for row in table]),
    }
    book.facts["num_bank"] = len(places)
