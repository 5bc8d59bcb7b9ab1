# SPDX-License-Identifier: Apache-2.0
"""One way to every network: by catalog name, address, file or folder of a run.

Loading is strict whoever wrote the file: every key is used or explained, every shape is the network's.
`backbone_file.py` reads our own files, `foreign.py` those of others, `catalog.py` names what is published.
"""

from __future__ import annotations

from pathlib import Path

from ssl4eo.backbones.adapt import with_image_size
from ssl4eo.backbones.architectures import Pooling
from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, is_own, load_own
from ssl4eo.checkpoints.foreign import load_foreign
from ssl4eo.contract import InputContract
from ssl4eo.errors import ConfigInvalid, DataMissing

RANDOM = "random."
"""Begin of the names of untrained networks."""


def load_backbone(
    name: str | Path,
    *,
    seed: int = 0,
    image_size: int | None = None,
    untrained_weights: bool = False,
    contract: InputContract | None = None,
    pooling: Pooling | None = None,
) -> Backbone:
    """Load a network by catalog name, address, file, or the folder of a run; in evaluation mode.

    Args:
        name: `random.<backbone>.<input>` for an untrained network, a file of ours or of another family (MoCo v2,
            MoCo v3, DINO, MAE, data2vec, an encoder alone), or a run's folder.
        seed: of an untrained network; a file has its own weights.
        image_size: that the network is to see [px]; another than a file's own interpolates its positions.
        untrained_weights: give the network of a file of ours as it was before the first step.
        contract: of a file that others wrote, the values that it wants; None: assumed by the number of bands, and said.
        pooling: of a transformer that others wrote, another way to a feature than its family's.

    Raises:
        DataMissing: no such file.
        CheckpointInvalid: no file of weights, cut short, one that would run code, or with keys, shapes or values that
            are not those of a network of ours.
        ContractMismatch: another number of bands than the contract's.
        ConfigInvalid: a size that the network cannot see, or an option that is not for this file.
        UnknownName: no such untrained network.
    """
    path = checkpoint_file(name)
    if path is None:
        return untrained(str(name), seed=seed, image_size=224 if image_size is None else image_size).eval()
    if is_own(path):
        if contract is not None or pooling is not None:
            raise ConfigInvalid(
                f"a contract or a pooling for {path}",
                expected="neither: a file of ours knows both",
                remedy="use backbones.adapt for another input",
            )
        backbone = load_own(path, untrained_weights=untrained_weights)
    elif untrained_weights:
        raise ConfigInvalid(
            f"the untrained network of {path}",
            expected="a file of ours, which knows its seed",
            remedy="name one, such as random.resnet50.s2l1c",
        )
    else:
        backbone = load_foreign(path, contract=contract, pooling=pooling)
    return (backbone if image_size is None else with_image_size(backbone, image_size)).eval()


def checkpoint_file(name: str | Path) -> Path | None:
    """Find the file that a checkpoint's name stands for; None for an untrained network.

    Raises:
        DataMissing: no such file.
    """
    text = str(name)
    if text.startswith(RANDOM):
        return None
    path = Path(name)
    path = path / BACKBONE_FILE if path.is_dir() else path
    if not path.is_file():
        unfinished = (path.parent / "config.json").is_file()
        raise DataMissing(
            f"no checkpoint {text!r}",
            expected=f"random.<backbone>.<input>, a file, or a run folder with {BACKBONE_FILE}",
            remedy="a run writes its backbone when it ends: continue it with --resume" if unfinished else "",
            path=text,
        )
    return path
