# SPDX-License-Identifier: Apache-2.0
"""What is in a file of weights: who wrote it, what can be told of it, and what is in the way of loading it.

Nothing is built and nothing is refused that can be read: faults are facts here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl4eo.backbones.architectures import FIRST_LAYERS
from ssl4eo.checkpoints.backbone_file import is_own, read_header, read_own
from ssl4eo.checkpoints.checksums import require_intact
from ssl4eo.checkpoints.families import KeyReport
from ssl4eo.checkpoints.foreign import ASSUMED, Foreign, read_foreign, usable_weights
from ssl4eo.checkpoints.formats import cut_from_safetensors
from ssl4eo.checkpoints.reading import read_container, tensors_in
from ssl4eo.checkpoints.recognition import require_arch
from ssl4eo.checkpoints.sidecar import Sidecar, read_sidecar
from ssl4eo.errors import CheckpointInvalid

_OURS = "a backbone of ssl4eo"
_MOST_SHOWN = 200
"""Characters of an option that are shown."""


@dataclass(frozen=True)
class Layer:
    """A tensor of a file."""

    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Inspection:
    """What can be told of a file."""

    path: str
    size: int
    """Bytes."""
    family: str
    """Title of the family; empty if none is known."""
    architecture: str
    num_bands: int | None
    image_size: int | None
    """Height and width that it was trained with [px]."""
    epoch: int | None
    """As the file says."""
    num_tensors: int
    num_values: int
    """Of all tensors of the weights, heads and averages included."""
    num_encoder_parameters: int | None
    has_optimizer: bool
    contract: str
    """What the numbers it wants mean, as far as the file tells; empty if it does not."""
    options: Mapping[str, Any]
    """Of the run that wrote it: plain values."""
    layers: tuple[Layer, ...]
    report: KeyReport | None
    obstacles: tuple[str, ...]
    """What is in the way of loading it as a backbone; empty if nothing is."""
    needed: tuple[str, ...]
    """What has to be said to load it."""
    first_layer: Tensor | None
    """(filters, bands, height, width) of the encoder."""
    bands: tuple[str, ...] = ()
    """Names of its bands, where they are known or assumed."""


def inspect(path: Path) -> Inspection:
    """Look into a file of weights.

    Args:
        path: of ours or of others: torch's formats or safetensors.

    Raises:
        DataMissing: no such file.
        CheckpointInvalid: it cannot be read at all, or would run code.
    """
    if path.is_file() and cut_from_safetensors(path) and is_own(path):
        read_header(path)  # raises, as for whoever loads it: a run's own file is not fetched again
    container = read_container(path)
    if is_own(path):
        return _own(path, container)
    tensors, record = tensors_in(container), read_sidecar(path)
    try:
        foreign = read_foreign(path, arch=None if record is None else record.arch)
    except CheckpointInvalid as error:
        return _unknown(path, container, tensors, str(error))
    return _foreign(path, container, foreign, record)


def _own(path: Path, tensors: Mapping[str, Any]) -> Inspection:
    try:
        own = read_own(path)
    except CheckpointInvalid as error:
        return replace(_unknown(path, tensors, dict(tensors), str(error)), family=_OURS)
    obstacles: tuple[str, ...] = ()
    try:
        own.usable_weights()
    except CheckpointInvalid as error:
        obstacles = (str(error),)
    epochs = own.training.get("epochs")
    return Inspection(
        path=str(path),
        size=path.stat().st_size,
        family=_OURS,
        architecture=own.arch,
        num_bands=own.contract.num_bands,
        image_size=own.image_size,
        epoch=epochs if isinstance(epochs, int) else None,
        num_tensors=len(tensors),
        num_values=sum(v.numel() for v in tensors.values()),
        num_encoder_parameters=sum(p.numel() for p in own.net.parameters()),
        has_optimizer=False,
        contract=str(own.contract),
        options={**own.training, "options": own.options.to_json()},
        layers=_layers(tensors),
        report=None,
        obstacles=obstacles,
        needed=(),
        first_layer=_first_layer(tensors),
        bands=own.contract.bands,
    )


def _foreign(path: Path, container: Mapping[str, Any], foreign: Foreign, record: Sidecar | None) -> Inspection:
    found, state = foreign.found, foreign.state
    obstacles: tuple[str, ...] = ()
    try:
        require_intact(path, {name: state.tensors[name] for name in foreign.report.used})
        usable_weights(foreign)
        if record is not None:
            require_arch(path, found.arch, record.arch, by=f"the record {record.path.name} says")
    except CheckpointInvalid as error:
        obstacles = (str(error),)
    assumed = ASSUMED.get(found.num_bands) if record is None else record.contract
    told = "" if assumed is None else f"not in the file; by its {found.num_bands} bands probably {assumed}"
    if record is not None:
        told = f"{assumed}, as {record.path.name} says"
    return Inspection(
        path=str(path),
        size=path.stat().st_size,
        family=state.family.title,
        architecture=found.arch,
        num_bands=found.num_bands,
        image_size=found.image_size if record is None or record.image_size is None else record.image_size,
        epoch=_epoch(container),
        num_tensors=len(state.tensors),
        num_values=sum(v.numel() for v in state.tensors.values()),
        num_encoder_parameters=sum(p.numel() for p in foreign.net.parameters()),
        has_optimizer=_has_optimizer(container),
        contract=told,
        options=_options(container),
        layers=_layers(state.tensors),
        report=foreign.report,
        obstacles=obstacles,
        needed=("contract=...: the file does not say which bands it wants",) if assumed is None else (),
        first_layer=_first_layer(foreign.weights),
        bands=() if assumed is None else assumed.bands,
    )


def _unknown(path: Path, container: Mapping[str, Any], tensors: Mapping[str, Tensor], why: str) -> Inspection:
    is_run = {"step", "config", "method", "optimizer"} <= container.keys()
    if is_run:
        why = (
            f"{path.name} is the state of a run of ssl4eo, not a backbone; expected backbone.safetensors of its folder"
        )
    recipe = container["config"].get("recipe", "") if is_run else ""
    return Inspection(
        path=str(path),
        size=path.stat().st_size,
        family=f"state of a run of ssl4eo ({recipe}, step {container['step']})" if is_run else "",
        architecture=str(container["config"].get("backbone", "")) if is_run else "",
        num_bands=None,
        image_size=None,
        epoch=_epoch(container),
        num_tensors=len(tensors),
        num_values=sum(v.numel() for v in tensors.values()),
        num_encoder_parameters=None,
        has_optimizer=_has_optimizer(container),
        contract="",
        options=_options(container),
        layers=_layers(tensors),
        report=None,
        obstacles=(why,),
        needed=(),
        first_layer=None,
    )


def _layers(tensors: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    return tuple(Layer(k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in tensors.items())


def _first_layer(weights: Mapping[str, Tensor]) -> Tensor | None:
    """Give the filters of the first layer, None if there are none that can be drawn."""
    found = next((weights[name] for name in FIRST_LAYERS if name in weights), None)
    can_be_drawn = found is not None and found.ndim == 4 and found.is_floating_point() and not found.is_meta
    return found.detach().float() if found is not None and can_be_drawn else None


def _epoch(container: Mapping[str, Any]) -> int | None:
    epoch = container.get("epoch")
    return int(epoch) if isinstance(epoch, int) and not isinstance(epoch, bool) else None


def _has_optimizer(container: Mapping[str, Any]) -> bool:
    return bool(container.get("optimizer"))


def _options(container: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of the run that wrote a file, cut to what can be printed."""
    args = container.get("args")
    rows = vars(args) if isinstance(args, argparse.Namespace) else {}
    if isinstance(container.get("arch"), str):
        rows = {"arch": container["arch"], **rows}
    return {str(key): _plain(value) for key, value in rows.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value if not isinstance(value, str) else value[:_MOST_SHOWN]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value[:20]]
    return str(value)[:_MOST_SHOWN]
