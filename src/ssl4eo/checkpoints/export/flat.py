# SPDX-License-Identifier: Apache-2.0
"""Flat state dicts in a torch file, with a JSON file beside it that says what builds the network and what it is fed.

Three libraries read them; the tensors are the same, what differs is who can build the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.sidecar import beside
from ssl4eo.files import file_sha256, require_absent, whole_or_told, write_json, writing


def flat_weights(backbone: Backbone) -> dict[str, Tensor]:
    """Give the weights under timm's keys, contiguous, on the CPU."""
    return {name: value.detach().cpu().contiguous() for name, value in backbone.net.state_dict().items()}


def write_torch(content: Any, out: Path, record: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write a torch file and its record atomically, the record last: it has the SHA-256.

    Raises:
        TargetExists: something stands under one of the names.
        WriteFailed: the disk is full or refuses.
    """
    sidecar = beside(out)
    require_absent(out, "file")
    require_absent(sidecar, "file")
    with whole_or_told(out, (RuntimeError,)) as partial:
        torch.save(content, partial)
    with writing(sidecar):
        try:
            write_json(sidecar, {**record, "sha256": file_sha256(out)})
        except BaseException:
            out.unlink()
            raise
    return out, sidecar
