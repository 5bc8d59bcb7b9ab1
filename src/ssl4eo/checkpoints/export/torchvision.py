# SPDX-License-Identifier: Apache-2.0
"""The torchvision form: residual networks, whose keys torchvision and timm share.

torchvision's transformers have other names, fused differently, and another table of positions: they are refused.
"""

from __future__ import annotations

from pathlib import Path

from ssl4eo.checkpoints.export.flat import flat_weights, write_torch
from ssl4eo.checkpoints.export.source import Source, Written, backbone_record
from ssl4eo.errors import ConfigInvalid

CONSTRUCTORS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)
"""Networks that torchvision has under our names."""


def write(source: Source, out: Path) -> Written:
    """Write the file and its record.

    Raises:
        ConfigInvalid: a transformer, or a residual network that torchvision does not have.
    """
    backbone = source.backbone()
    if backbone.arch not in CONSTRUCTORS:
        raise ConfigInvalid(
            f"{backbone.arch} in the form torchvision",
            expected=f"one of {', '.join(CONSTRUCTORS)}: torchvision has no other residual networks, and its "
            "transformers have other names and another table of positions",
            remedy="export it with --form timm",
        )
    name, num_bands = f"torchvision.models.{backbone.arch}", backbone.contract.num_bands
    replaced = {
        "conv1": f"torch.nn.Conv2d({num_bands}, 64, 7, stride=2, padding=3, bias=False)",
        "fc": "torch.nn.Identity()",
    }
    record = {
        "form": "torchvision",
        "constructor": name,
        "arguments": {},
        "replace": replaced,
        **backbone_record(backbone),
        "training": source.training(),
    }
    files = write_torch(flat_weights(backbone), out, record)
    load = "; ".join(
        [
            f"model = {name}()",
            *(f"model.{layer} = {code}" for layer, code in replaced.items()),
            f"model.load_state_dict(torch.load({str(out)!r}, weights_only=True))",
        ]
    )
    return Written(files, load)
