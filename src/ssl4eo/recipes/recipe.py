# SPDX-License-Identifier: Apache-2.0
"""A complete experiment under a name, with what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssl4eo.pretraining.config import PretrainConfig

Build = Callable[[str, str, str], PretrainConfig]
"""(backbone, modality, name) -> config."""

INPUTS = ("S2L1C", "S2L2A", "S2RGB", "S1GRD")
"""What a recipe may read."""

NOT_YET_RUN = "not yet run"


def sensor_drop(modality: str) -> float:
    """Give the share of views that lose one sensor: half of them where an input has several, as published.

    Source: SSL4EO-S12's RandomSensorDrop for 15 channels, which zeroes the optical or the radar ones with p = 1/2.

    >>> sensor_drop("S2L1C"), sensor_drop("S2L1C+S1GRD")
    (0.0, 0.5)
    """
    return 0.5 if "+" in modality else 0.0


@dataclass(frozen=True)
class Recipe:
    """A complete experiment and its promise."""

    name: str
    """<method>.<backbone>.<input>, `.tiny` for the CPU form, `.as_published` with the defects of the published run."""
    backbone: str
    modality: str
    build: Build
    promise: str
    """Hardware, hours, expected score and spread, commit; says "not yet run" where nobody has."""
    differs: str = ""
    """What is not as in the run that was published."""

    def config(self) -> PretrainConfig:
        """Build the resolved config."""
        return self.build(self.backbone, self.modality, self.name)
