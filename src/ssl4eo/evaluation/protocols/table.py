# SPDX-License-Identifier: Apache-2.0
"""All protocols by name: one table, filled here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.evaluation.protocols.change import change, change_as_published
from ssl4eo.evaluation.protocols.finetune import finetune
from ssl4eo.evaluation.protocols.knn import knn
from ssl4eo.evaluation.protocols.linear import linear
from ssl4eo.evaluation.protocols.protocol import Protocol
from ssl4eo.evaluation.protocols.published import (
    finetune_as_published,
    linear_as_published,
    require_finetune,
    require_linear,
)
from ssl4eo.evaluation.protocols.segmentation import segmentation, segmentation_linear
from ssl4eo.evaluation.tasks.task import Kind

_WHOLE: tuple[Kind, ...] = ("class", "labels")
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "knn": Protocol("weighted k-NN, k 20, T 0.07", _WHOLE, on_features=knn),
        "linear": Protocol("logistic regression, its strength chosen on validation", _WHOLE, on_features=linear),
        "finetune": Protocol("the whole network, AdamW, epoch chosen on validation", _WHOLE, on_pixels=finetune),
        "linear_as_published": Protocol(
            "a linear layer by SGD, as the script of the network's method",
            _WHOLE,
            on_pixels=linear_as_published,
            check=require_linear,
        ),
        "finetune_as_published": Protocol(
            "fine-tuning as the script of the network's method, with its defects",
            _WHOLE,
            on_pixels=finetune_as_published,
            check=require_finetune,
        ),
        "segmentation_linear": Protocol(
            "a linear map of frozen features of four levels",
            ("segmentation",),
            on_pixels=segmentation_linear,
            needs_maps=True,
        ),
        "segmentation": Protocol(
            "a feature pyramid and the whole network", ("segmentation",), on_pixels=segmentation, needs_maps=True
        ),
        "change": Protocol("a U-Net on differences of frozen features", ("change",), on_pixels=change, needs_maps=True),
        "change_as_published": Protocol(
            "the same as the published script, with its defects",
            ("change",),
            on_pixels=change_as_published,
            needs_maps=True,
        ),
    }
)
DEFAULTS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "class": ("knn", "linear"),
        "labels": ("knn", "linear"),
        "segmentation": ("segmentation_linear",),
        "change": ("change",),
    }
)
"""Protocols of a kind of task where none are named: those that leave the network as it is."""
