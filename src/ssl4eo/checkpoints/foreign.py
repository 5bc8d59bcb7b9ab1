# SPDX-License-Identifier: Apache-2.0
"""Weights that others wrote, as a backbone of ours: strict, key by key.

Architecture, bands and size are read off the shapes; what the numbers mean is not in any file, so the contract comes
from the catalog, from the caller, or is assumed by the number of bands and said aloud.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from ssl4eo.backbones.architectures import ARCHITECTURES, BackboneOptions, Pooling, ViTShape, on_meta, patch_size
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import check_state
from ssl4eo.checkpoints.families import FAMILIES, KeyReport, State, encoder_of, find_state
from ssl4eo.checkpoints.reading import is_read_whole, read_container
from ssl4eo.checkpoints.recognition import INDEX, Found, recognize
from ssl4eo.checkpoints.sidecar import beside
from ssl4eo.contract import InputContract, network_input, stored
from ssl4eo.errors import CheckpointInvalid, ContractMismatch

log = logging.getLogger(__name__)

_ZSCORE = dataclasses.replace(stored("S1GRD"), scaling="zscore:published_rounded")
ASSUMED: Mapping[int, InputContract] = MappingProxyType(
    {
        13: network_input("S2L1C"),
        2: _ZSCORE,
    }
)
"""By the number of bands: the input of the published networks of SSL4EO-S12. Three bands may be any picture's."""


@dataclass(frozen=True)
class Foreign:
    """An encoder read from a file, ready to be built."""

    path: Path
    state: State
    weights: Mapping[str, Tensor]
    """Under the names of the network."""
    found: Found
    options: BackboneOptions
    net: nn.Module
    """The network on the meta device."""
    report: KeyReport


def read_foreign(
    path: Path,
    *,
    method: str | None = None,
    pooling: Pooling | None = None,
    residual_size: int | None = None,
    arch: str | None = None,
) -> Foreign:
    """Read an encoder and account for every key, without judging yet.

    Args:
        path: of the file.
        method: that trained it, where that is known; an encoder alone does not tell.
        pooling: another way to a feature than the family's own.
        residual_size: image size of a residual network, where it is known [px].
        arch: see `recognize`.

    Raises:
        DataMissing, CheckpointInvalid: see `read_container` and `find_state`, no architecture of ours, or a file of
            another method than `method`.
    """
    state = find_state(read_container(path), path)
    weights, report = encoder_of(state)
    found = recognize(weights, path, arch=arch)
    if residual_size is not None and patch_size(found.arch) is None:
        found = dataclasses.replace(found, image_size=residual_size)
    _require_method(state, method, path)
    family = next((f for f in FAMILIES if f.name == method), state.family)
    options = family.options(found.arch)
    if pooling is not None:
        options = dataclasses.replace(options, pooling=pooling)
    net = on_meta(found.arch, num_bands=found.num_bands, image_size=found.image_size, options=options)
    weights, report = _account(net, weights, report, state)
    return Foreign(path, state, weights, found, options, net, report)


def _require_method(state: State, method: str | None, path: Path) -> None:
    """Refuse a file of another method than it is told to be of; an encoder alone may be of any."""
    if method is None or state.family.name in (method, "flat"):
        return
    raise CheckpointInvalid(
        f"{path} is a file of {state.family.title}",
        expected=f"one of {next(f.title for f in FAMILIES if f.name == method)}, as its name says",
        remedy="it is another file under this name: rename it to load it as it is",
        path=str(path),
    )


def load_foreign(
    path: Path,
    *,
    contract: InputContract | None = None,
    method: str | None = None,
    pooling: Pooling | None = None,
    residual_size: int | None = None,
    arch: str | None = None,
) -> Backbone:
    """Load an encoder that others wrote, with the contract of its input.

    Args:
        path: of the file.
        contract: of the values that the network wants; None: assumed by the number of bands, and logged.
        method: that trained it, where that is known.
        pooling: another way to a feature than the family's own.
        residual_size: image size of a residual network, where it is known [px].
        arch: see `recognize`.

    Raises:
        DataMissing, CheckpointInvalid: see `read_foreign` and `usable_weights`.
        ContractMismatch: another number of bands than the contract's, or one that nothing can be assumed of.
    """
    foreign = read_foreign(path, method=method, pooling=pooling, residual_size=residual_size, arch=arch)
    weights = usable_weights(foreign)
    contract = contract or _assumed(foreign)
    if contract.num_bands != foreign.found.num_bands:
        raise ContractMismatch(
            f"{path} wants {foreign.found.num_bands} bands",
            expected=f"the {contract.num_bands} of {contract}",
            remedy="give the contract that it was trained with; backbones.adapt changes the bands of a loaded network",
        )
    _doubt_unscaled(contract, path)
    backbone = Backbone.from_weights(
        foreign.found.arch,
        contract,
        image_size=foreign.found.image_size,
        options=foreign.options,
        weights=weights,
        net=foreign.net,
        taken=is_read_whole(path),
    )
    log.info("%s: %s, %s", path.name, foreign.state.family.title, foreign.report.summary())
    return backbone.eval()


def _account(
    net: nn.Module, weights: dict[str, Tensor], report: KeyReport, state: State
) -> tuple[dict[str, Tensor], KeyReport]:
    """Compare with what the network has: derived, fresh, missing and unexpected keys."""
    expected = net.state_dict()
    used, unexpected, derived = dict(report.used), list(report.unexpected), list[str]()
    for key, name in report.used.items():
        if name in expected:
            continue
        del used[key]
        if name == INDEX and name not in expected:
            derived.append(key)
        else:
            unexpected.append(key)
    weights = {name: value for name, value in weights.items() if name in expected}
    missing, fresh = list[str](), dict[str, str]()
    for name, blank in expected.items():
        if name in weights:
            continue
        why = next((why for pattern, why in state.family.fresh if fnmatch.fnmatchcase(name, pattern)), None)
        if why is None:
            missing.append(name)
        else:
            fresh[name] = why
            weights[name] = torch.full(blank.shape, 1.0 if name.endswith("weight") else 0.0)
    report = dataclasses.replace(
        report,
        used=used,
        derived=tuple(derived),
        fresh=fresh,
        unexpected=tuple(unexpected),
        missing=tuple(missing),
    )
    return weights, report


def usable_weights(foreign: Foreign) -> dict[str, Tensor]:
    """Give the weights in the network's types; what was cast is logged.

    Raises:
        CheckpointInvalid: a key that nothing explains or that lacks, another shape, values of another kind or that are
            not finite.
    """
    report, found, path = foreign.report, foreign.found, foreign.path
    if report.unexpected or report.missing:
        parts = [
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in (("unexplained", report.unexpected), ("missing", report.missing))
            if keys
        ]
        raise CheckpointInvalid(
            f"{path}, a file of {foreign.state.family.title} with {found.arch}: keys {'; '.join(parts)}",
            expected="only keys that the family explains, and all of the network",
            remedy="`ssl4eo checkpoints inspect` lists what becomes of each key",
            path=str(path),
        )
    weights = check_state(foreign.net.state_dict(), foreign.weights, path)
    _compare_index(foreign)
    return weights


def _compare_index(foreign: Foreign) -> None:
    """Raise unless the index of relative positions in the file is the one that the network computes."""
    if INDEX not in foreign.state.tensors:
        return
    from timm.layers.pos_embed_rel import gen_relative_position_index

    found = foreign.found
    side = found.image_size // cast("ViTShape", ARCHITECTURES[found.arch]).patch
    index, computed = foreign.state.tensors[INDEX], gen_relative_position_index((side, side), class_token=True)
    if index.is_meta or not torch.equal(index.to(computed), computed):
        raise CheckpointInvalid(
            f"{foreign.path}: {INDEX} is another than BEiT's",
            expected="rows before columns, the class token first",
            path=str(foreign.path),
        )


def _doubt_unscaled(contract: InputContract, path: Path) -> None:
    """Warn of a network that is to be fed values as stored: hardly any was trained like that."""
    raw = [part for part in contract.parts if part.scaling == "none"]
    if raw:
        log.warning(
            "%s is to be fed unscaled values (%s): contract= is of what enters the network, such as "
            "network_input(%r); what an array holds is said to embed",
            path.name,
            ", ".join(map(str, raw)),
            raw[0].modality,
        )


def _assumed(foreign: Foreign) -> InputContract:
    count = foreign.found.num_bands
    if count not in ASSUMED:
        raise ContractMismatch(
            f"{foreign.path} wants {count} bands and does not say which",
            expected="a contract: what the bands are, their order and scaling",
            remedy=f"load_backbone(path, contract=...), or {beside(foreign.path).name} as checkpoints.sidecar shows it",
        )
    log.warning(
        "%s does not say what its %d bands are: assumed %s, as published networks have it; give a contract to be sure",
        foreign.path.name,
        count,
        ASSUMED[count],
    )
    return ASSUMED[count]
