# SPDX-License-Identifier: Apache-2.0
"""Networks that we do not have: told by what they look like, with what we have."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from published_files import blank, encoder

from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.errors import CheckpointInvalid

NETWORKS = [
    (torchvision.models.resnet34, r"a network like resnet34 \(.*expected one of resnet18, resnet50"),
    (torchvision.models.resnet101, r"a network like resnet101 \("),
    (torchvision.models.resnext50_32x4d, r"a network like resnext50_32x4d \("),
    (torchvision.models.wide_resnet50_2, r"like resnet50 with 128 channels in place of 64 \("),
    (
        lambda: timm.create_model("vit_tiny_patch16_224"),
        r"like vit_tiny_16 \(patches of 16 px, width 192, 12 blocks\).*vit_nano_8 \(patches of 8 px",
    ),
    (lambda: timm.create_model("vit_small_patch32_224"), r"like vit_small_32 \(patches of 32 px, width 384, 12"),
]


@pytest.mark.parametrize(("make", "words"), NETWORKS)
def test_network_that_we_do_not_have_is_told_by_what_it_looks_like(make, words, tmp_path):
    """With what we have, in the same numbers, and what to do."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    torch.save({name: blank(*shape) for name, shape in shapes.items()}, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=words + ".*load the file with the library that wrote it"):
        load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "tensors",
    [
        {"patch_embed.proj.weight": torch.zeros(384, 13)},
        {"patch_embed.proj.weight": torch.zeros(384, 13, 1, 16, 16)},
        {"pos_embed": torch.zeros(1, 0, 384)},
    ],
)
def test_shapes_of_no_network_are_no_bare_error(tensors, tmp_path):
    """A linear patch embedding, one over time; no positions in their table."""
    torch.save(encoder("vit_small_16", 13).state_dict() | tensors, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"an unknown network|of no square grid"):
        load_backbone(tmp_path / "a.pth")
