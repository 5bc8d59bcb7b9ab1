# SPDX-License-Identifier: Apache-2.0
"""What is judged: a backbone, where it comes from, and what trained it."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl4eo.backbones.adapt import with_image_size
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.checkpoints.backbone_file import is_own, read_header
from ssl4eo.checkpoints.load import checkpoint_file, load_backbone
from ssl4eo.checkpoints.told import told_of
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid
from ssl4eo.extension import is_own as is_named_own
from ssl4eo.extension import load_own, require_own
from ssl4eo.files import file_sha256


@dataclass(frozen=True, eq=False)
class Network:
    """A backbone under judgement and where it comes from."""

    checkpoint: str
    """As the user named it."""
    backbone: Backbone
    sha256: str | None
    """Of its file, None for an untrained network; of a network of one's own that of its weights, see `network_of`."""
    seed: int
    """Of its training as the file says, of its weights if untrained, else as given."""
    method: str = ""
    """That trained it, such as moco_v2; empty where nobody says."""

    @property
    def pretrained(self) -> bool:
        """Say whether it was trained; of a network of one's own, as its owner says."""
        return self.backbone.trained if isinstance(self.backbone, OwnBackbone) else self.sha256 is not None


def network_of(backbone: OwnBackbone, *, name: str | None = None, seed: int = 0) -> Network:
    """Give a network of one's own as what is judged.

    Its SHA-256 is of names, types, shapes and values of its weights: equal for equal weights wherever they were loaded
    from. The code of the module is not in it.

    Args:
        backbone: the network; stays where it is.
        name: that records know it by; None: the name of its kind.
        seed: of heads, order and crops of protocols that train.
    """
    sha256 = _sha256_of_weights(backbone.net)
    return Network(name or backbone.arch, backbone, sha256, seed, backbone.method)


def _sha256_of_weights(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):  # a module may keep anything else beside them
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            plain = value.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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
        checkpoint: `random.<backbone>.<input>`, a file, a run folder; or `module:name` or `file.py:name` of a network
            of one's own: an OwnBackbone, or a function without arguments that gives one.
        seed: of the weights of an untrained network; recorded for a file that does not tell its own.
        image_size: that the network is to see [px]; None: 224 for an untrained one, else what it was trained with.
        untrained: take the network of a file as it was before its first step: the fair baseline of its run.
        offline: fetch no weights; None: as SSL4EO_OFFLINE says.

    Raises:
        DataMissing, CheckpointInvalid, UnknownName: no such network.
        ConfigInvalid: an image size that the network cannot see, or a network of one's own that cannot be had.
    """
    if is_named_own(checkpoint) and not Path(checkpoint).exists():
        return _load_named(checkpoint, seed=seed, image_size=image_size, untrained=untrained)
    path = checkpoint_file(checkpoint, offline=offline)
    backbone = load_backbone(checkpoint, seed=seed, image_size=image_size, untrained_weights=untrained, offline=offline)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    if path is None:
        return Network(checkpoint, backbone, None, seed)
    if untrained:
        return Network(f"{checkpoint} untrained", backbone, None, _seed_of(path, otherwise=0))
    method = _method_of(checkpoint, path)
    return Network(checkpoint, backbone, file_sha256(path), _seed_of(path, otherwise=seed), method)


def _takes_nothing(found: object) -> bool:
    """Say whether an object is a function that can be called as it is; a module is none."""
    if isinstance(found, nn.Module) or not callable(found):
        return False
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):  # it wants arguments, or does not tell
        return False
    return True


def _load_named(name: str, *, seed: int, image_size: int | None, untrained: bool) -> Network:
    """Import a network of one's own."""
    if untrained:
        raise ConfigInvalid(
            f"the untrained network of {name}",
            expected="a file of ours, which knows its seed",
            remedy="name an object that gives it with weights that are drawn from a seed, and trained=False",
        )
    found = load_own("network", name)
    backbone: Any = found() if _takes_nothing(found) else found
    expected = "a ssl4eo.backbones.own.OwnBackbone around the module, or a function without arguments that gives one"
    require_own("network", name, backbone, expected=expected, fits=isinstance(backbone, OwnBackbone))
    if image_size is not None:
        backbone = with_image_size(backbone, image_size)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    return network_of(backbone.eval(), name=name, seed=seed)


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
