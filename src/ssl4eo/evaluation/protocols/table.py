# SPDX-License-Identifier: Apache-2.0
"""All protocols by name: one table, filled here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.evaluation.protocols.knn import knn
from ssl4eo.evaluation.protocols.linear import linear
from ssl4eo.evaluation.protocols.protocol import Protocol
from ssl4eo.evaluation.tasks.task import Kind

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "knn": Protocol("weighted k-NN, k 20, T 0.07", ("class", "labels"), on_features=knn),
        "linear": Protocol(
            "logistic regression, its strength chosen on validation", ("class", "labels"), on_features=linear
        ),
    }
)
DEFAULTS: Mapping[Kind, tuple[str, ...]] = MappingProxyType({"class": ("knn", "linear"), "labels": ("knn", "linear")})
"""Protocols of a kind of task where none are named: those that need no training."""
