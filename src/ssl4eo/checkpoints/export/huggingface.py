# SPDX-License-Identifier: Apache-2.0
"""The HuggingFace form: a folder that timm and our own loader read, with contract and card.

timm's config can say a mean and a deviation per band, but no clipping and no unit: `contract.json` is what holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.export.card import Card
from ssl4eo.checkpoints.export.source import Source, Written, backbone_record, raw_contract
from ssl4eo.checkpoints.export.timm_network import TimmNetwork, timm_network
from ssl4eo.contract import UNBOUNDED, plan_remap
from ssl4eo.files import whole_folder, write_json, write_text

WEIGHTS, CONFIG, CONTRACT, CARD = "model.safetensors", "config.json", "contract.json", "README.md"


def write(source: Source, out: Path) -> Written:
    """Write the folder."""
    backbone, training, licence = source.backbone(), source.training(), source.known_licence()
    network = timm_network(backbone)
    with whole_folder(out) as folder:
        save_backbone(backbone, folder / WEIGHTS, training=training)
        write_json(folder / CONFIG, timm_config(backbone, network))
        write_json(folder / CONTRACT, backbone_record(backbone) | {"training": training})
        write_text(folder / CARD, Card(backbone, training, licence, network.call).to_markdown())
    notes = ["timm does not scale: feed it as contract.json says"]
    if is_clipped(backbone):
        notes.append("mean and std in config.json leave out that the contract clips")
    if training.get("certainty"):
        notes.append(f"what it is to be fed: {training['certainty']}")
    if licence is None:
        notes.append("the card says licence unknown: give one before you publish it")
    files = tuple(out / name for name in (WEIGHTS, CONFIG, CONTRACT, CARD))
    return Written(files, f"model = timm.create_model({'local-dir:' + str(out)!r}, pretrained=True)", tuple(notes))


def timm_config(backbone: Backbone, network: TimmNetwork) -> dict[str, Any]:
    """Give the config.json that `timm.create_model("hf-hub:...")` and "local-dir:..." read.

    `mean` and `std` are of raw values, (x - mean) / std; for 8-bit values of x / 255, as timm's transforms make it.
    `first_conv` stays unnamed: releases of timm that adapt a first layer to other channels would draw it anew.
    """
    affine = plan_remap(raw_contract(backbone.contract), backbone.contract).affine
    top = [255.0 if part.unit == "uint8" else 1.0 for part in backbone.contract.parts for _ in part.bands]
    return {
        "architecture": network.name,
        "num_classes": 0,
        "num_features": backbone.num_features,
        "pretrained_cfg": {
            "tag": "ssl4eo",
            "custom_load": False,
            "input_size": [backbone.contract.num_bands, backbone.image_size, backbone.image_size],
            "fixed_input_size": backbone.patch is not None,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [-b / g / t + 0.0 for g, b, t in zip(affine.gain, affine.bias, top, strict=True)],
            "std": [1 / g / t for g, t in zip(affine.gain, top, strict=True)],
            "num_classes": 0,
            "pool_size": None,
            "first_conv": None,
            "classifier": "fc" if backbone.patch is None else "head",
        },
        "model_args": dict(network.arguments),
    }


def is_clipped(backbone: Backbone) -> bool:
    """Say whether the contract clips, which timm's config cannot say."""
    clip = plan_remap(raw_contract(backbone.contract), backbone.contract).affine.clip
    return any(bounds != UNBOUNDED for bounds in clip)
