# SPDX-License-Identifier: Apache-2.0
"""Where a run begins if not at random weights: a full checkpoint of its method, a run of ours, or a network alone.

A full checkpoint, published or ours, gives every weight of the method: averages, heads, queue, decoder, centre. A
network alone gives the encoder and its moving average; heads and queue stay as drawn from the seed. Optimizer and
schedules begin anew in any case.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from ssl4eo.backbones.adapt import with_image_size
from ssl4eo.backbones.architectures import ARCHITECTURES
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import is_own
from ssl4eo.checkpoints.cache import fetch_weights
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.checkpoints.checksums import require_intact
from ssl4eo.checkpoints.families import find_state
from ssl4eo.checkpoints.load import checkpoint_file, load_backbone, load_told
from ssl4eo.checkpoints.published_keys import from_published, method_of
from ssl4eo.checkpoints.reading import read_container, tensors_in
from ssl4eo.checkpoints.told import told_of
from ssl4eo.checkpoints.training_state import FOLDER, load_latest
from ssl4eo.checkpoints.values import check_values, in_types_of
from ssl4eo.contract import InputContract, network_input
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, DataMissing
from ssl4eo.files import file_sha256
from ssl4eo.methods.method import Method
from ssl4eo.pretraining.config import BEFORE, PretrainConfig

log = logging.getLogger(__name__)

_OURS = frozenset({"step", "config", "method", "optimizer"})
"""Top level of a training state of ours."""


@dataclass(frozen=True)
class Initial:
    """A file that a run begins with, found on this disk."""

    path: Path
    """A file, or the folder of a run."""
    sha256: str
    """Empty for a folder."""


def find_initial(name: str) -> Initial:
    """Find what `init_from` names; a name of the catalog is fetched, the full checkpoint where there is one.

    Raises:
        DataMissing, DownloadFailed, ChecksumMismatch, SourceInvalid: see `checkpoints.cache`.
        ConfigInvalid: an untrained network.
    """
    if name in CARDS and not Path(name).exists():
        card = CARDS[name]
        path = fetch_weights(card, holds="full" if card.holding("full") else "backbone")
        return Initial(path, file_sha256(path))
    if (Path(name) / FOLDER).is_dir():
        return Initial(Path(name), "")
    found = checkpoint_file(name)
    if found is None:
        raise ConfigInvalid(
            f"init_from {name}", expected="weights", remedy="leave it out: a run begins with an untrained network"
        )
    return Initial(found, file_sha256(found))


def initialize(method: Method, config: PretrainConfig, initial: Initial) -> list[str]:
    """Put weights into a method that was just built; says what came from where.

    Raises:
        CheckpointInvalid: the file cannot be read, or is not whole.
        ConfigInvalid: it is of another network, size, or input than the config's.
    """
    own = method_of(method.state_dict())
    path = initial.path
    if path.is_dir():
        state = load_latest(path)
        if state is None:
            raise DataMissing(f"no checkpoint in {path}", expected="a run that has written one", path=str(path))
        return _of_run(method, config, {"config": state.config, "method": state.method}, own, path)
    if is_own(path):
        return _of_network(method, config, load_backbone(path), path, "a network alone")
    container = read_container(path)
    require_intact(path, tensors_in(container))
    if container.keys() >= _OURS:
        return _of_run(method, config, container, own, path)
    family = find_state(container, path).family.name
    if family == own:
        return _of_published(method, config, container, own, path)
    told = told_of(config.init_from, path)
    contract = _only_if_counted(config, path) if told is None else told.contract if told.record is None else None
    network = load_told(path, told, contract=contract, arch=config.backbone)
    what = "a network alone" if family == "flat" else f"its encoder alone, for {family} has other heads than {own}"
    return _of_network(method, config, network, path, what)


def _only_if_counted(config: PretrainConfig, path: Path) -> InputContract:
    """Give the config's own contract for a file that does not tell its input, and say so."""
    _require_all_bands(config, path)
    log.warning("%s does not say what it was fed: taken to be %s, as this run is", path.name, config.contract)
    return config.contract


def _require_all_bands(config: PretrainConfig, path: Path) -> None:
    """Refuse a file that does not tell its bands for a run that chose its own: as many may be others."""
    if config.contract.bands != network_input(config.modality).bands:
        raise ConfigInvalid(
            f"init_from {path}, which does not say its bands",
            expected=f"a file that does, for a run with --bands {' '.join(config.bands)}",
            remedy=f"write the contract that it was trained with into {path.name}.json beside it, or cut its network "
            "to the bands (ssl4eo.backbones.adapt.with_contract) and keep that by save_backbone",
        )


def _of_published(
    method: Method, config: PretrainConfig, container: Mapping[str, Any], own: str, path: Path
) -> list[str]:
    told = told_of(config.init_from, path)
    if told is not None:
        _compare_inputs(config, told.contract, path)
    else:
        _require_all_bands(config, path)
    mapped = from_published(own, container)
    _load(method, mapped.values, config, path)
    left = [key for key in mapped.dropped if key in ("optimizer", "scaler", "fp16_scaler")]
    return [
        f"all {len(mapped.values)} tensors of {own} from {path.name}",
        *([f"left out: {', '.join(left)}"] if left else []),
    ]


def _of_run(method: Method, config: PretrainConfig, stored: Mapping[str, Any], own: str, path: Path) -> list[str]:
    theirs = method_of(stored["method"])
    if theirs != own:
        raise ConfigInvalid(
            f"init_from {path}, a run of {theirs}",
            expected=f"a run of {own}",
            remedy="take its backbone.safetensors: an encoder goes with any method (data2vec's with itself alone)",
        )
    for field in ("modality", "bands", "backbone", "scaling"):
        wanted = getattr(config, field)
        found = stored["config"].get(field, BEFORE.get(field, wanted))
        found = tuple(found) if isinstance(wanted, tuple) else found
        if found != wanted:
            raise ConfigInvalid(
                f"init_from {path}, a run with {field} {_words(found)}",
                expected=f"{field} {_words(wanted)}, as this run has",
                remedy="give the bands that it has, or take its backbone.safetensors, cut to the bands by "
                "ssl4eo.backbones.adapt.with_contract"
                if field == "bands"
                else "choose the recipe that fits",
            )
    _load(method, stored["method"], config, path)
    return [f"all {len(stored['method'])} tensors of {own} from {path.name}"]


def _words(value: object) -> str:
    return (" ".join(map(str, value)) or "(all)") if isinstance(value, tuple) else str(value)


def _of_network(method: Method, config: PretrainConfig, network: Backbone, path: Path, what: str) -> list[str]:
    """Put one network into every place of it in a method."""
    if ARCHITECTURES[network.arch] != ARCHITECTURES[config.backbone]:
        raise ConfigInvalid(
            f"init_from {path}, a {network.arch}",
            expected=config.backbone,
            remedy=f"--backbone {network.arch}, where the method can take it",
        )
    _compare_inputs(config, network.contract, path)
    weights = with_image_size(network, config.image_size).net.state_dict()
    places = [part for part in method.modules() if isinstance(part, Backbone)]
    fresh: set[str] = set()
    for place in places:
        wanted = place.net.state_dict()
        _require_shapes({k: v for k, v in wanted.items() if k in weights}, weights, config, path)
        usable = {key: value for key, value in weights.items() if key in wanted}
        fresh |= wanted.keys() - usable.keys()
        place.net.load_state_dict(wanted | usable)
    unknown = [key for key in fresh if not key.startswith(("norm.", "fc_norm."))]
    if unknown:
        raise CheckpointInvalid(
            f"{path} lacks {', '.join(sorted(unknown)[:3])}",
            expected=f"every part of the {config.backbone} of {method_of(method.state_dict())}",
            remedy="take a whole encoder; data2vec's transformers have parts that those of other methods lack",
            path=str(path),
        )
    rows = [f"{what}: {len(weights)} tensors of {path.name} in {len(places)} places; the rest as drawn from the seed"]
    return [*rows, f"as drawn: {', '.join(sorted(fresh))}"] if fresh else rows


def _compare_inputs(config: PretrainConfig, found: InputContract, path: Path) -> None:
    """Refuse other bands; warn of the same bands with other values, and of as many of another product."""
    wanted = config.contract
    if found.modality == wanted.modality and found.num_bands == wanted.num_bands and found.bands != wanted.bands:
        raise ConfigInvalid(
            f"init_from {path}, whose filters are of {' '.join(found.bands)}",
            expected=f"those of this run, {' '.join(wanted.bands)}",
            remedy=f"--bands {' '.join(found.bands)}, or bring it to these first: "
            "ssl4eo.backbones.adapt.with_contract, then save_backbone",
        )
    if (found.modality, found.bands) != (wanted.modality, wanted.bands) and found.num_bands == wanted.num_bands:
        log.warning("%s was trained on %s; this run feeds it %s", path.name, found, wanted)
    elif found.num_bands != wanted.num_bands:
        raise ConfigInvalid(
            f"init_from {path}, which wants {found.num_bands} bands ({found})",
            expected=f"{wanted.num_bands} ({wanted})",
            remedy="choose a recipe of its input, or change its bands first (ssl4eo.backbones.adapt)",
        )
    elif found != wanted:
        log.warning("%s was trained on %s; this run feeds it %s", path.name, found, wanted)


def _load(method: Method, values: Mapping[str, Tensor], config: PretrainConfig, path: Path) -> None:
    """Load all weights of a method, strictly: keys, shapes, types, and values that a run can begin with."""
    wanted = method.state_dict()
    missing, extra = sorted(wanted.keys() - values.keys()), sorted(values.keys() - wanted.keys())
    if missing or extra:
        rows = [f"{len(k)} {w} ({', '.join(k[:3])})" for w, k in (("missing", missing), ("unexpected", extra)) if k]
        raise CheckpointInvalid(
            f"{path} as a state of {config.recipe}: {'; '.join(rows)}",
            expected="all weights of the method",
            remedy="start from its encoder alone (`ssl4eo checkpoints export --form timm`)",
            path=str(path),
        )
    _require_shapes(wanted, values, config, path)
    weights = in_types_of(wanted, values, path)
    check_values(weights, path)
    method.load_state_dict(weights, strict=True)


def _require_shapes(
    wanted: Mapping[str, Tensor], values: Mapping[str, Tensor], config: PretrainConfig, path: Path
) -> None:
    other = [key for key, value in wanted.items() if values[key].shape != value.shape]
    if other:
        key = other[0]
        _refuse_shape(config, path, key, tuple(values[key].shape), tuple(wanted[key].shape))


def _refuse_shape(
    config: PretrainConfig, path: Path, key: str, found: tuple[int, ...], wanted: tuple[int, ...]
) -> NoReturn:
    raise ConfigInvalid(
        f"init_from {path}: {key} is {found}",
        expected=f"{wanted}, as {config.recipe} with backbone {config.backbone} at {config.image_size} px has it",
        remedy="choose the recipe, network, image size and method options that the file was trained with; "
        "`ssl4eo checkpoints inspect` tells some of them",
    )


def record(initial: Initial, notes: list[str]) -> dict[str, Any]:
    """Say in the log how a run began."""
    return {"kind": "init", "step": 0, "file": str(initial.path), "sha256": initial.sha256, "notes": notes}
