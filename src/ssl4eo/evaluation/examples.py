# SPDX-License-Identifier: Apache-2.0
"""A few test items as pictures in numbers, for the report, with what they are and what they were taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import Contract
from ssl4eo.errors import WriteFailed
from ssl4eo.evaluation.metrics import map_confusion
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, hash_order
from ssl4eo.files import atomic_path, whole_or_told
from ssl4eo.sensors import RGB
from ssl4eo.views.compose import PLAIN, Renderer

NUM_EXAMPLES = 6
NUM_ANSWERS = 8
"""Of items that were judged right, and of items that were judged wrong."""
LARGEST = 96
"""Side of their pictures [px]."""
STRETCH = (2, 98)
"""Percentiles of an item that become black and white."""


def save_examples(path: Path, task: Task, test: LabelledPixels, maps: Sequence[NDArray[np.uint8]]) -> str:
    """Write an .npz: images (N, D, S, S, 3) uint8 of D dates, true and predicted maps, ids, classes.

    Half of the items are those with most pixels of other classes than the first, half are chosen by hash: what is
    shown is neither only ground nor only the best.

    Raises:
        WriteFailed: the disk is full or refuses.
    """
    assert test.maps is not None, "dense tasks have maps"
    chosen = choose(test, maps, num_classes=task.num_classes)
    dates = range(2) if task.kind == "change" else None
    rows = [quicklooks(test, i, dates=dates) for i in chosen]
    truths = [test.maps(int(test.items[i])) for i in chosen]
    try:
        with atomic_path(path) as partial, partial.open("wb") as stream:
            np.savez_compressed(
                stream,
                images=np.stack(rows),
                truths=np.stack(truths),
                predicted=np.stack([maps[i] for i in chosen]),
                ids=np.array([test.ids[i] for i in chosen]),
                classes=np.array(task.classes),
            )
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written ({error})", path=str(path)) from error
    return path.name


def save_answers(path: Path, task: Task, test: LabelledPixels, predicted: NDArray[np.int64]) -> str:
    """Write an .npz: images (N, 1, S, S, 3) uint8, true and predicted class (N,), ids, classes.

    Up to NUM_ANSWERS items that were taken for another class come first, then as many that were not, all chosen by
    hash: not the best, not the worst.

    Raises:
        WriteFailed: the disk is full or refuses.
    """
    order = np.argsort(hash_order(test.ids, salt="examples"), kind="stable")
    is_right = (predicted == test.labels)[order]
    chosen = [*order[~is_right][:NUM_ANSWERS], *order[is_right][:NUM_ANSWERS]]
    arrays: dict[str, Any] = {  # of anything: pyright takes the names for options of NumPy
        "images": _of_one_size([quicklooks(test, int(i)) for i in chosen]),
        "truths": test.labels[chosen],
        "predicted": predicted[chosen],
        "ids": np.array([test.ids[i] for i in chosen]),
        "classes": np.array(task.classes),
    }
    with whole_or_told(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path.name


def _of_one_size(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Bring pictures (D, S, S, 3) to one side of at most LARGEST pixels, each pixel the nearest one."""
    side = min(LARGEST, max(picture.shape[1] for picture in pictures))
    at = [np.arange(side) * picture.shape[1] // side for picture in pictures]
    return np.stack([picture[:, rows][:, :, rows] for picture, rows in zip(pictures, at, strict=True)])


def choose(test: LabelledPixels, maps: Sequence[NDArray[np.uint8]], *, num_classes: int) -> list[int]:
    """Choose positions of up to NUM_EXAMPLES items, each once."""
    assert test.maps is not None, "dense tasks have maps"
    counts = [
        map_confusion(test.maps(int(item)), found, num_classes=num_classes)[1:].sum()
        for item, found in zip(test.items, maps, strict=True)
    ]
    rich = np.argsort(-np.array(counts), kind="stable")[: NUM_EXAMPLES // 2]
    others = [int(i) for i in np.argsort(hash_order(test.ids, salt="examples"), kind="stable") if i not in rich]
    return [*map(int, rich), *others[: NUM_EXAMPLES - len(rich)]]


def quicklooks(part: LabelledPixels, position: int, *, dates: range | None = None) -> NDArray[np.uint8]:
    """Render an item for eyes: (D, S, S, 3), all dates of it with one stretch; radar in gray, its first band."""
    contract = _shown(part.source.contract.parts)
    render = Renderer(contract, part.source.form)
    item, season = int(part.items[position]), int(part.seasons[position])
    reads = [part.source.pixels(item, date) for date in (dates if dates is not None else (season,))]
    side = max(read[min(read)].shape[-1] for read in reads)
    values = np.stack([render(read, side, PLAIN).astype(np.float32) for read in reads])  # (D, C, S, S)
    if contract.num_bands == 1:
        values = np.repeat(values, 3, axis=1)
    if contract.unit == "uint8":
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1)).astype(np.uint8)
    low, high = np.percentile(values, STRETCH)
    stretched = (values - low) / max(float(high - low), 1e-6) * 255
    return np.ascontiguousarray(stretched.clip(0, 255).transpose(0, 2, 3, 1)).astype(np.uint8)


def _shown(parts: Sequence[Contract]) -> Contract:
    optical = next((part for part in parts if set(RGB) <= set(part.bands)), None)
    return replace(optical, bands=RGB) if optical is not None else replace(parts[0], bands=parts[0].bands[:1])
