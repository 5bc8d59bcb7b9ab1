# SPDX-License-Identifier: Apache-2.0
"""RUN/insight.npz: pictures of what a run saw and of what its network does, as plain arrays that need no torch to draw.

One file holds all parts and a record in JSON: of which weights, config and data they are, and why a part is absent. It
is made again when one of these has changed, and kept as it is otherwise. Parts, by the beginning of their names:
`views`, `masks`, `reconstruction`, `attention`, `neighbors`, `filters`.
Shapes: N samples, G composites, S pixels, k neighbors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssl4eo.errors import ConfigInvalid, Ssl4eoError, WriteFailed
from ssl4eo.files import atomic_path, require_writable
from ssl4eo.insight.composites import composites
from ssl4eo.insight.filters import strongest
from ssl4eo.insight.network import Left, load_left, steps_done, weights_key
from ssl4eo.insight.parts import (
    Book,
    Progress,
    record_attention,
    record_neighbors,
    record_reconstruction,
    record_views,
    tell_what_does_not_apply,
)
from ssl4eo.insight.seen import items_of_step, seen_views
from ssl4eo.insight.source import Opened, open_source
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.methods.mae import MAE
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.run_folder import CONFIG, IDS, INSIGHT
from ssl4eo.pretraining.stored_config import METHODS, stored_config

VERSION = 1
NO_DATA = "no images were named (--archive)"
NO_NETWORK = "the network was left out (--no-network)"


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
    book = Book()
    try:
        config = stored_config(stored["config"])
    except (Ssl4eoError, KeyError) as error:
        book.absent["everything"] = f"config.json tells no run that can be made again: {error}"
        return _write(target, book, made_of)
    opened = None if data is None else open_source(data, config, stored["data"], run / IDS)
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


def _write(target: Path, book: Book, made_of: Mapping[str, Any]) -> Path:
    words = {"version": VERSION, "made_of": made_of, "absent": book.absent, **book.facts}
    arrays: dict[str, Any] = dict(book.arrays)  # of anything: pyright takes the names for options of NumPy
    require_writable(target)
    try:
        with atomic_path(target) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, record=np.array(json.dumps(words)), **arrays)
    except OSError as error:
        raise WriteFailed(f"{target} cannot be written ({error})", path=str(target)) from error
    return target


def _fill(
    book: Book,
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
        book.facts["num_seasons"] = source.num_seasons
        _of_images(book, config, source, left, step, samples, no_weights, progress)
    tell_what_does_not_apply(book, config)


def _of_images(
    book: Book,
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
        record_views(book, config, seen, step=shown)
        if isinstance(left.method, MAE):
            record_reconstruction(book, config, left.method, seen)
        else:
            book.absent["reconstruction"] = no_weights
        if left.backbone is None:
            book.absent["attention"] = no_weights
        elif left.backbone.patch is not None:
            record_attention(book, config, source, left.backbone, seen)
    if left.backbone is None:
        book.absent["neighbors"] = no_weights
        return
    with book.told("neighbors"):
        record_neighbors(book, config, source, left.backbone, samples, progress)
