# SPDX-License-Identifier: Apache-2.0
"""The TorchGeo form: a flat state dict that TorchGeo's own constructors load.

They tolerate a missing or superfluous classifier (`fc`; `head` and `norm` of transformers) and nothing else, and
feed networks with transforms of their own: the record beside the file says what ours expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ssl4eo.checkpoints.export.flat import flat_weights, write_torch
from ssl4eo.checkpoints.export.source import Source, Written, backbone_record
from ssl4eo.checkpoints.export.timm_network import TIMM_NAMES, timm_network
from ssl4eo.errors import ConfigInvalid

CONSTRUCTORS: Mapping[str, str] = MappingProxyType(
    {"resnet18": "resnet18", "resnet50": "resnet50", "resnet152": "resnet152", **TIMM_NAMES}
)
"""Architecture -> function of torchgeo.models."""
PUBLISHED_SIZE = 224


def write(source: Source, out: Path) -> Written:
    """Write the file and its record.

    Raises:
        ConfigInvalid: a network that TorchGeo has no constructor for.
    """
    backbone = source.backbone()
    if backbone.arch not in CONSTRUCTORS or backbone.options.position == "relative":
        relative = " with relative positions" if backbone.options.position == "relative" else ""
        raise ConfigInvalid(
            f"{backbone.arch}{relative} in the form torchgeo",
            expected=f"one of {', '.join(CONSTRUCTORS)} with a table of positions",
            remedy="export it with --form timm",
        )
    arguments = dict(timm_network(backbone).arguments)
    name = f"torchgeo.models.{CONSTRUCTORS[backbone.arch]}"
    notes = ["TorchGeo's transforms differ: feed the network as the contract in the record says"]
    if backbone.patch is not None and backbone.image_size != PUBLISHED_SIZE:
        notes.append(f"pass img_size={backbone.image_size}: TorchGeo builds for {PUBLISHED_SIZE} px unless told")
    record = {
        "form": "torchgeo",
        "constructor": name,
        "arguments": {"weights": None, **arguments},
        **backbone_record(backbone),
        "training": source.training(),
    }
    files = write_torch(flat_weights(backbone), out, record)
    call = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
    load = f"model = {name}({call}); model.load_state_dict(torch.load({str(out)!r}, weights_only=True))"
    return Written(files, load, tuple(notes))
