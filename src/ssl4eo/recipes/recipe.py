# SPDX-License-Identifier: Apache-2.0
"""A complete experiment under a name, with what it promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ssl4eo.backbones.architectures import ARCHITECTURES, patch_size
from ssl4eo.contract import FUSED_INPUTS
from ssl4eo.errors import ConfigInvalid
from ssl4eo.pretraining.config import PretrainConfig, fitting
from ssl4eo.views.config import ViewConfig

Build = Callable[[str, str, str], PretrainConfig]
"""(backbone, modality, name) -> config."""

INPUTS = ("S2L1C", "S2L2A", "S2RGB", "S1GRD", *FUSED_INPUTS)
"""What a recipe may read."""

NOT_YET_RUN = "not yet run"

ON_GPUS = "on 4 GPUs (--engine.devices 4)"
"""What the published runs used; the config has one device, for nobody knows what the reader has."""

HOURS_PUBLISHED = "published run: at most 24 hours on 4 A100"
"""What is told of the runs of ViT-S and ResNet-50 whose scores were published; a bound, not a measurement."""
HOURS_UNKNOWN = "hours unknown"
UNPUBLISHED = "nobody has published this one"
"""No weights of it are known."""
UNSCORED = "weights are published, scores are not"
"""No published table has a row for it."""


SENSOR_DROP = 0.5
"""Share of the views of a stacked input that lose one sensor, as RandomSensorDrop of SSL4EO-S12 has it."""
STACKED = "half of the views lose one sensor and none is gray, for the sensors are stacked"
"""What `with_sensor_drop` changes, in words."""


def with_sensor_drop(config: PretrainConfig) -> PretrainConfig:
    """Let half of the views lose one sensor, and none be gray: the mean of reflectance and decibels is no quantity.

    Nobody has published a run on stacked inputs. A masked method neither sees the lost sensor nor is asked for it.
    """
    changed: dict[str, ViewConfig] = {}
    for part in dataclasses.fields(config.views):
        view = getattr(config.views, part.name)
        if isinstance(view, ViewConfig):
            photometric = dataclasses.replace(view.photometric, gray_probability=0.0, sensor_drop=SENSOR_DROP)
            changed[part.name] = dataclasses.replace(view, photometric=photometric)
    return dataclasses.replace(config, views=dataclasses.replace(config.views, **changed))


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
    changes: str = ""
    """What the builder does not do as in the runs that were published; for `as_published` what it keeps of them."""
    changes_of_resnet: str = ""
    """The same, said of residual networks only."""
    changes_of_transformer: str = ""
    """The same, said of transformers only."""

    @property
    def differs(self) -> str:
        """Say what is not as in the runs that were published."""
        stacked = STACKED if self.modality in FUSED_INPUTS else ""
        return "; ".join(filter(None, [self.changes, self._changes_of_kind(), stacked]))

    def _changes_of_kind(self) -> str:
        if not (self.changes_of_resnet or self.changes_of_transformer):
            return ""  # a recipe of one's own may have a network that is in no table
        return self.changes_of_resnet if patch_size(self.backbone) is None else self.changes_of_transformer

    def config(self) -> PretrainConfig:
        """Build the resolved config."""
        config = self.build(self.backbone, self.modality, self.name)
        return with_sensor_drop(config) if self.modality in FUSED_INPUTS else config

    def with_backbone(self, backbone: str | None) -> Recipe:
        """Give the same experiment around another network, by the recipe's own builder; itself for None.

        Nobody has promised anything of it, so the promise goes.

        Raises:
            UnknownName: no such architecture.
            ConfigInvalid: the method or a view cannot take it, or this form has a network of its own.
        """
        if backbone is None:
            return self
        patch_size(backbone)  # raises for an unknown name
        promise = f"with {backbone}: {NOT_YET_RUN}, {HOURS_UNKNOWN}"
        changed = dataclasses.replace(self, backbone=backbone, promise=promise)
        found, expected = f"{self.name} with backbone {backbone}", "a backbone that it can be built around"
        try:
            built = changed.config().backbone
        except ConfigInvalid as error:
            reason = f"{found}: {error.found}"
            raise ConfigInvalid(reason, expected=error.expected or expected, remedy=self._other_backbone()) from error
        if built != backbone:
            raise ConfigInvalid(
                f"{found}: this form has its own network, {built}", expected=expected, remedy=self._other_backbone()
            )
        return self if self.config().backbone == backbone else changed

    def _other_backbone(self) -> str:
        return f"leave the backbone out, or choose one of {', '.join(self.backbones())}"

    def backbones(self) -> tuple[str, ...]:
        """Name the networks that this can be built around."""
        return tuple(arch for arch in ARCHITECTURES if self._builds(arch))

    def _builds(self, arch: str) -> bool:
        try:
            with fitting(required=True):
                return dataclasses.replace(self, backbone=arch).config().backbone == arch
        except ConfigInvalid:
            return False
