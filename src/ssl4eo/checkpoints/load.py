# SPDX-License-Identifier: Apache-2.0
"""One way to every network: by catalog name, address, file or folder of a run.

Loading is strict whoever wrote the file: every key is used or explained, every shape is the network's.
`backbone_file.py` reads our own files, `foreign.py` those of others, `catalog.py` names what is published.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from ssl4eo.backbones.adapt import with_image_size
from ssl4eo.backbones.architectures import Pooling, patch_size
from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, is_own, load_own
from ssl4eo.checkpoints.cache import fetch_url, fetch_weights
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.checkpoints.foreign import load_foreign
from ssl4eo.checkpoints.recognition import require_arch
from ssl4eo.checkpoints.sidecar import beside, load_recorded, read_sidecar
from ssl4eo.checkpoints.told import Told, told_of
from ssl4eo.contract import InputContract, is_contract
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, ContractMismatch, DataMissing
from ssl4eo.sensors import modality

log = logging.getLogger(__name__)

IN_FOLDERS = (BACKBONE_FILE, "model.safetensors")
"""Files that a folder is looked through for: of a run, of an export for HuggingFace."""
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
    arch: str | None = None,
    offline: bool | None = None,
) -> Backbone:
    """Load a network by catalog name, address, file, or the folder of a run; in evaluation mode.

    Args:
        name: of the catalog (`ssl4eo checkpoints list`; fetched into the cache if it is not there),
            `random.<backbone>.<input>` for an untrained network, an address (https://...), a file of ours or of another
            family (MoCo v2, MoCo v3, DINO, MAE, data2vec, an encoder alone), or a run's folder.
        seed: of an untrained network; a file has its own weights.
        image_size: that the network is to see [px]; another than a file's own interpolates its positions.
        untrained_weights: give the network of a file of ours as it was before the first step.
        contract: of a file that others wrote, the values that it wants, as they enter the network: scaled, such as
            `network_input("S2L1C")`; None: of its card in the catalog or of the record beside it (FILE.json, see
            `checkpoints.sidecar`), else assumed by the number of bands, and said.
        pooling: of a transformer that others wrote, another way to a feature than its family's.
        arch: the network of a file that others wrote, such as `vit_w256d8h4_8` or `resnet26t`, where its weights do not
            tell: heads of a transformer, stems and poolings of a residual network.
        offline: fetch nothing; None: as SSL4EO_OFFLINE says.

    Raises:
        DataMissing: no such file, or nothing may be fetched.
        DownloadFailed, ChecksumMismatch, SourceInvalid: see `fetch_weights`.
        CheckpointInvalid: no file of weights, cut short, one that would run code, with keys, shapes or values that are
            not those of a network of ours, or another than its name or its record says.
        ContractMismatch: another number of bands than the contract's, or one of values as stored that the file's record
            does not say.
        ConfigInvalid: a size that the network cannot see, or an option that is not for this file.
        UnknownName: no such untrained network, or no such `arch`.
    """
    if arch is not None:
        patch_size(arch)  # raises for an unknown name
    if contract is not None and not is_contract(contract):
        raise ConfigInvalid(
            f"the contract {contract!r}", expected="a contract, such as ssl4eo.contract.network_input('S2L1C')"
        )
    path = checkpoint_file(name, offline=offline)
    if (path is None or is_own(path)) and any(told is not None for told in (contract, pooling, arch)):
        raise ConfigInvalid(
            f"a contract, a pooling or an arch for {name if path is None else path}",
            expected="none: a file of ours and the name of an untrained network tell all of them",
            remedy="use backbones.adapt for another input",
        )
    if path is None:
        return untrained(str(name), seed=seed, image_size=224 if image_size is None else image_size).eval()
    if is_own(path):
        backbone = load_own(path, untrained_weights=untrained_weights)
        _require_agreement(path, backbone)
    elif untrained_weights:
        raise ConfigInvalid(
            f"the untrained network of {path}",
            expected="a file of ours, which knows its seed",
            remedy="name one, such as random.resnet50.s2l1c",
        )
    else:
        told = told_of(name, path)
        if contract is not None and (told is None or contract != told.contract):
            _require_scaled(contract, path)
        backbone = load_told(path, told, contract=contract, pooling=pooling, arch=arch)
        require_arch(path, backbone.arch, arch, by="was asked for")
    return (backbone if image_size is None else with_image_size(backbone, image_size)).eval()


def _require_scaled(contract: InputContract, path: Path) -> None:
    """Refuse the contract of values as stored for what enters a network: it would be fed numbers in the thousands.

    The 8-bit forms are scalings of their own, and pass. A network that was trained on values as stored says so in its
    record, where nobody writes it by mistake.

    Raises:
        ContractMismatch: a part of it is not scaled.
    """
    if all(part.scaling != "none" for part in contract.parts):
        return
    raise ContractMismatch(
        f"the contract {contract} for {path.name}, of values as stored",
        expected="that of the values which enter the network, scaled as it was trained",
        remedy=f"contract={_our_input(contract)} scales as our recipes do; another scaling is "
        'dataclasses.replace(stored(...), scaling="zscore:published_50k") or the like; that of an array is said to '
        f"embed. Where it was trained on values as stored, say so in {beside(path).name} "
        f"({json.dumps({'contract': contract.to_json()})})",
    )


def _our_input(contract: InputContract) -> str:
    """Write the call that makes the contract of our own recipes with the same bands."""
    parts = contract.parts
    if len(parts) == 1 and parts[0].bands != modality(parts[0].modality).bands:
        return f'network_input("{contract.modality}", bands={list(parts[0].bands)})'
    return f'network_input("{contract.modality}")'


def _require_agreement(path: Path, backbone: Backbone) -> None:
    """Refuse a record beside a file of ours that tells another input than the file itself."""
    record = read_sidecar(path)
    if record is not None and record.contract != backbone.contract:
        raise CheckpointInvalid(
            f"{record.path} says {record.contract}",
            expected=f"{backbone.contract}, as {path.name} says itself",
            remedy="one of them was changed: remove the record, or change the input with backbones.adapt",
            path=str(path),
        )


def load_told(
    path: Path,
    told: Told | None,
    *,
    contract: InputContract | None = None,
    pooling: Pooling | None = None,
    arch: str | None = None,
) -> Backbone:
    """Load a file of others as it is told to be; a contract or a pooling that the caller gives stands above all.

    Args:
        path: of the file.
        told: what its record or its card says, if there is one.
        contract: of what the network wants.
        pooling: of a transformer.
        arch: taken where nothing else is told and the weights fit; the file may hold another network all the same.

    Raises:
        CheckpointInvalid, ContractMismatch, ConfigInvalid: see `load_backbone`.
    """
    if told is None:
        return load_foreign(path, contract=contract, pooling=pooling, arch=arch)
    if contract is not None and contract != told.contract:
        log.info("%s: fed %s as asked; %s says %s", path.name, contract, told.by, told.contract)
    if told.certainty and contract is None:
        log.info("%s: how sure its input is: %s", path.name, told.certainty)
    if told.record is not None and told.record.is_whole:
        return load_recorded(path, told.record.changed(contract=contract, pooling=pooling))
    backbone = load_foreign(
        path,
        contract=contract or told.contract,
        method=told.method,
        pooling=pooling,
        residual_size=told.image_size,
        arch=told.arch or arch,
    )
    require_arch(path, backbone.arch, told.arch, by=f"{told.by} says")
    return backbone


def checkpoint_file(name: str | Path, *, offline: bool | None = None) -> Path | None:
    """Find the file that a checkpoint's name stands for, fetched if need be; None for an untrained network.

    Raises:
        DataMissing: no such file, or nothing may be fetched.
        DownloadFailed, ChecksumMismatch, SourceInvalid: see `fetch_weights`.
        ConfigInvalid: neither text nor a path.
    """
    if not isinstance(name, str | Path) or not str(name):  # pyright: ignore[reportUnnecessaryIsInstance] - of callers without types
        raise ConfigInvalid(f"a checkpoint called {name!r}", expected="a name, an address, or a path")
    text = str(name)
    if text.startswith(RANDOM):
        return None
    if text in CARDS and not Path(name).exists():
        return fetch_weights(CARDS[text], offline=offline)
    if text.startswith(("https://", "http://")):
        return fetch_url(text, offline=offline)
    path = Path(name)
    if path.is_dir():
        path = next((path / file for file in IN_FOLDERS if (path / file).is_file()), path / BACKBONE_FILE)
    if not path.is_file():
        unfinished = (path.parent / "config.json").is_file()
        raise DataMissing(
            f"no checkpoint {text!r}",
            expected=f"a name of the catalog, random.<backbone>.<input>, a file, or a run folder with {BACKBONE_FILE}",
            remedy="a run writes its backbone when it ends: continue it with --resume"
            if unfinished
            else "`ssl4eo checkpoints list` has the names",
            path=text,
        )
    return path
