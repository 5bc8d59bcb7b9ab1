# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import Contract, network_input, stored
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, hold_out, make_task
from ssl4eo.form import Form

CLASSES = ("flat", "rows", "squares")


class PatternPixels:
    """Pictures of 16 x 16 px whose pattern is their class, with noise."""

    title = "synthetic patterns"
    identity = "synthetic patterns"
    synthetic = True
    num_seasons = 2

    def __init__(self, labels: np.ndarray, *, modality: str = "S2RGB") -> None:
        self.labels = labels
        self.contract: Contract = stored(modality)
        self.form = Form.native(modality)
        self.broken: set[int] = set()
        self.reads: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int, season: int, *, resolutions: Sequence[int] | None = None) -> dict[int, np.ndarray]:
        """Draw one picture."""
        self.reads.append((index, season))
        rng = np.random.default_rng([index, season])
        y, x = np.mgrid[:16, :16]
        pattern = [np.zeros((16, 16)), y % 4 < 2, (y // 4 + x // 4) % 2][self.labels[index]]
        if self.contract.modality == "S1GRD":
            values = (-12 + 3 * pattern + rng.normal(0, 0.5, (2, 16, 16))).astype(np.float32)
            values[0, 0, 0] = np.nan if index in self.broken else values[0, 0, 0]
            return {10: values}
        values = 90 + 60 * pattern + rng.normal(0, 8, (self.contract.num_bands, 16, 16))
        return {10: values.clip(0, 255).astype(np.uint8)}


@pytest.fixture
def pattern_task() -> Callable[..., Task]:
    """Make a task of `count` patterns; items may come in another order."""

    def make(count: int = 60, *, modality: str = "S2RGB", order: np.ndarray | None = None) -> Task:
        order = np.arange(count) if order is None else order
        source = PatternPixels(np.arange(count) % 3, modality=modality)
        labels = source.labels[order]
        ids = tuple(f"{i:04d}" for i in order)
        everything = LabelledPixels(source, items=order, seasons=order % 2, labels=labels, ids=ids)
        test = hold_out(ids, labels, share=0.25, salt="test")
        return make_task("patterns", split="quarter", classes=CLASSES, everything=everything, test=test)

    return make


@pytest.fixture(scope="session")
def rgb_network() -> Backbone:
    """An untrained network for RGB of 32 x 32 px, in evaluation mode."""
    return Backbone("resnet18", network_input("S2RGB"), image_size=32, seed=0).eval()
