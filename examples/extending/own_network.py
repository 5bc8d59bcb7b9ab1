# SPDX-License-Identifier: Apache-2.0
"""A network of one's own: a ConvNeXt of timm, with weights of a file of one's own if there is one, judged as any other.

Run it with: ssl4eo evaluate --checkpoint examples/extending/own_network.py:convnext --task ... --root ... --out ...
or, with the weights that the loop in own_loop.py wrote: OWN_WEIGHTS=weights.pt ssl4eo evaluate --checkpoint ...
"""

from __future__ import annotations

import os

import timm
import torch
from torch import nn

from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.contract import network_input

WEIGHTS = "OWN_WEIGHTS"
"""Variable of the environment that names the file of weights; without it they are drawn from seed 0."""


def build() -> nn.Module:
    """Build the module: 13 bands in, 320 features out."""
    torch.manual_seed(0)
    return timm.create_model("convnext_atto", in_chans=13, num_classes=0)


def convnext() -> OwnBackbone:
    """Give it with what it wants to be fed, what records call it, and where its maps come from."""
    module, file = build(), os.environ.get(WEIGHTS)
    if file is not None:
        module.load_state_dict(torch.load(file, weights_only=True))
    return OwnBackbone(
        module,
        network_input("S2L1C"),
        image_size=64,
        name="convnext_atto",
        trained=file is not None,
        method="" if file is None else "simclr",
        levels=lambda net, images: net.forward_intermediates(images, intermediates_only=True),
    )
