# SPDX-License-Identifier: Apache-2.0
"""The timm form: a flat state dict that a network built by timm loads strictly."""

from __future__ import annotations

from pathlib import Path

import timm

from ssl4eo.checkpoints.export.flat import flat_weights, write_torch
from ssl4eo.checkpoints.export.source import Source, Written, backbone_record
from ssl4eo.checkpoints.export.timm_network import beit_arguments, timm_network


def write(source: Source, out: Path) -> Written:
    """Write the file and its record.

    A network with relative positions is built by its class: `constructor` says `timm.models.beit.Beit`.
    """
    backbone = source.backbone()
    network = timm_network(backbone)
    constructor, arguments, load = "timm.create_model", {"model_name": network.name, **network.arguments}, network.call
    if backbone.options.position == "relative":
        constructor, arguments = "timm.models.beit.Beit", beit_arguments(backbone)
        load = f"{constructor}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
    record = {
        "form": "timm",
        "constructor": constructor,
        "arguments": arguments,
        "timm": timm.__version__,
        **backbone_record(backbone),
        "training": source.training(),
    }
    files = write_torch(flat_weights(backbone), out, record)
    return Written(files, f"model = {load}; model.load_state_dict(torch.load({str(out)!r}, weights_only=True))")
