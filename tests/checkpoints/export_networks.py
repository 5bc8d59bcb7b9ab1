# SPDX-License-Identifier: Apache-2.0
"""Small networks that look trained, for the tests of exports."""

from __future__ import annotations

from pathlib import Path

import torch

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, save_backbone
from ssl4eo.contract import InputContract, network_input

TRAINING = {"recipe": "moco_v2.resnet18.s2l1c.tiny", "seed": 3, "steps": 10}

MAE = BackboneOptions(pooling="mean", position="sincos_columns", init="xavier")
DATA2VEC = BackboneOptions(pooling="mean", position="relative", init="beit", drop_path=0.1, layer_scale=0.1)
OPTIONS = {"cls": BackboneOptions(), "mean": MAE, "relative": DATA2VEC}


def looks_trained(
    arch: str, contract: InputContract, *, image_size: int, options: BackboneOptions | None = None
) -> Backbone:
    """Build a network whose every tensor differs from its start, so that a forgotten one shows."""
    backbone = Backbone(arch, contract, image_size=image_size, seed=1, options=options)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in backbone.state_dict().values():
            if value.is_floating_point():
                value.add_(0.05 * torch.rand(value.shape, generator=generator))
    return backbone.eval()


def kept(backbone: Backbone, folder: Path) -> Path:
    """Write a network as a run does; gives the run's folder."""
    folder.mkdir()
    save_backbone(backbone, folder / BACKBONE_FILE, training=TRAINING)
    return folder


def small(kind: str, modality: str = "S2L1C") -> Backbone:
    """Build one of: resnet, cls, mean, relative."""
    if kind == "resnet":
        return looks_trained("resnet18", network_input(modality), image_size=64)
    return looks_trained("vit_nano_8", network_input(modality), image_size=32, options=OPTIONS[kind])


def scaled(backbone: Backbone, batch: int = 2) -> torch.Tensor:
    """Give images (B, C, S, S) from 0 to 1."""
    size = backbone.image_size
    return torch.rand(batch, backbone.contract.num_bands, size, size, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def features(backbone: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Run a network in evaluation mode."""
    return backbone.eval()(images)
