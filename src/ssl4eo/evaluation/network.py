# SPDX-License-Identifier: Apache-2.0
"""What is judged: a backbone, where it comes from, and what trained it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import is_own, read_header
from ssl4eo.checkpoints.load import checkpoint_file, load_backbone
from ssl4eo.checkpoints.told import told_of
from ssl4eo.errors import CheckpointInvalid
from ssl4eo.files import file_sha256


@dataclass(frozen=True, eq=False)
class Network:
    """A backbone under judgement and where it comes from."""

    checkpoint: str
    """As the user named it."""
    backbone: Backbone
    sha256: str | None
    """Of its file, None for an untrained network."""
    seed: int
    """Of its training as the file says, of its weights if untrained, else as given."""
    method: str = ""
    """That trained it, such as moco_v2; empty where nobody says."""

    @property
    def pretrained(self) -> bool:
        """Say whether it was trained."""
        return self.sha256 is not None


def load_network(
    checkpoint: str,
    *,
    seed: int = 0,
    image_size: int | None = None,
    untrained: bool = False,
    offline: bool | None = None,
) -> Network:
    """Load what is to be judged, on an accelerator where there is one.

    Args:
        checkpoint: `random.<backbone>.<input>`, a file, or a run folder.
        seed: of the weights of an untrained network; recorded for a file that does not tell its own.
        image_size: that the network is to see [px]; None: 224 for an untrained one, else what it was trained with.
        untrained: take the network of a file as it was before its first step: the fair baseline of its run.
        offline: fetch no weights; None: as SSL4EO_OFFLINE says.

    Raises:
        DataMissing, CheckpointInvalid, UnknownName: no such network.
        ConfigInvalid: an image size that the network cannot see.
    """
    path = checkpoint_file(checkpoint, offline=offline)
    backbone = load_backbone(checkpoint, seed=seed, image_size=image_size, untrained_weights=untrained, offline=offline)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    if path is None:
        return Network(checkpoint, backbone, None, seed)
    if untrained:
        return Network(f"{checkpoint} untrained", backbone, None, _seed_of(path, otherwise=0))
    method = _method_of(checkpoint, path)
    return Network(checkpoint, backbone, file_sha256(path), _seed_of(path, otherwise=seed), method)


def _method_of(checkpoint: str, path: Path) -> str:
    """Name the method that trained a file: as its header, its card or its record says; empty if none does."""
    if is_own(path):
        training = read_header(path).get("training") or {}
    else:
        told = told_of(checkpoint, path)
        training = {} if told is None else told.training
    return str(training.get("method") or str(training.get("recipe", "")).partition(".")[0])


def _seed_of(path: Path, *, otherwise: int) -> int:
    if not is_own(path):
        return otherwise
    training = read_header(path).get("training") or {}
    seed = training.get("seed", otherwise) if isinstance(training, dict) else None
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise CheckpointInvalid(
            f"{path} has the training record {str(training)[:80]}",
            expected="an object whose seed, if there is one, is a whole number",
            path=str(path),
        )
    return seed
