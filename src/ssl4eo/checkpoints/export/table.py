# SPDX-License-Identifier: Apache-2.0
"""All forms by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ssl4eo.checkpoints.export import huggingface, onnx, published, timm, torchgeo, torchvision
from ssl4eo.checkpoints.export.source import Source, Written


@dataclass(frozen=True)
class Form:
    """A way to leave."""

    title: str
    write: Callable[[Source, Path], Written]
    """Writes the export atomically, refuses what the form cannot hold."""


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "timm": Form("flat state dict for a network built by timm, with a JSON record", timm.write),
        "torchvision": Form("the same for torchvision: residual networks only", torchvision.write),
        "torchgeo": Form("the same for TorchGeo's constructors", torchgeo.write),
        "huggingface": Form("folder with safetensors, timm config, contract and card", huggingface.write),
        "onnx": Form("graph from values as stored to features", onnx.write),
        "published": Form("full checkpoint of a run under the reference's names", published.write),
    }
)
