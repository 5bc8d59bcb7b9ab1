# SPDX-License-Identifier: Apache-2.0
"""All protocols by name: one table, filled here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.evaluation.protocols.finetune import finetune
from ssl4eo.evaluation.protocols.knn import knn
from ssl4eo.evaluation.protocols.linear import linear
from ssl4eo.evaluation.protocols.protocol import Protocol
from ssl4eo.evaluation.protocols.published import finetune_as_published, linear_as_published
from ssl4eo.evaluation.tasks.task import Kind

_WHOLE: tuple[Kind, ...] = ("class", "labels")
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "knn": Protocol("weighted k-NN, k 20, T 0.07", _WHOLE, on_features=knn),
        "linear": Protocol("logistic regression, its strength chosen on validation", _WHOLE, on_features=linear),
        "finetune": Protocol("the whole network, AdamW, epoch chosen on validation", _WHOLE, on_pixels=finetune),
        "linear_as_published": Protocol(
            "a linear layer by SGD, as the script of the network's method", _WHOLE, on_pixels=linear_as_published
        ),
        "finetune_as_published": Protocol(
            "fine-tuning as the script of the network's method, with its defects",
            _WHOLE,
            on_pixels=finetune_as_published,
        ),
    }
)
DEFAULTS: Mapping[Kind, tuple[str, ...]] = MappingProxyType({"class": ("knn", "linear"), "labels": ("knn", "linear")})
"""Protocols of a kind of task where none are named: those that need no training."""
