# SPDX-License-Identifier: Apache-2.0
"""Who wrote a file of weights, told by its keys, and what becomes of each key.

One table: where a family keeps its weights, which prefix its encoder has, and what lies beside the encoder and why it
is left out. A key that the table does not explain is an error of whoever asks, never dropped silently.
Source of names and shapes: the training scripts of SSL4EO-S12 and of the papers, and facts read from their modules.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from ssl4eo.backbones.architectures import FIRST_LAYERS, BackboneOptions, patch_size
from ssl4eo.errors import CheckpointInvalid

WRAPPERS: Mapping[str, str] = MappingProxyType(
    {
        "module.": "DataParallel and DistributedDataParallel",
        "_orig_mod.": "torch.compile",
        "model.": "Lightning",
        "backbone.": "Lightning, detectors, segmentation",
        "encoder.": "Lightning, segmentation",
        "net.": "Lightning, ssl4eo.Backbone",
    }
)
"""What is put before every key, and by whom; one around another."""

FamilyName = Literal["moco_v2", "moco_v3", "dino", "mae", "data2vec", "torchgeo", "flat"]
_MOST_BEGINS = 4
"""Beginnings of keys that a message shows."""
_HEADS = (("fc.*", "head on top"), ("head.*", "head on top"))


@dataclass(frozen=True)
class Family:
    """What the files of one method look like."""

    name: FamilyName
    title: str
    paths: tuple[tuple[str, ...], ...]
    """Names of the levels above the weights, the likeliest first; () for weights at the top."""
    marks: tuple[str, ...]
    """Patterns of keys of which one is there in no other family."""
    prefix: str = ""
    """Of the encoder's keys, without what is around every key of the file."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Patterns of keys that are no part of the backbone, and what they are; the first that fits counts."""
    fresh: tuple[tuple[str, str], ...] = ()
    """Patterns of keys that the network has and the file does not, and why that is right."""
    transformer: BackboneOptions = field(default_factory=BackboneOptions)
    """Options of its transformers."""

    def options(self, arch: str) -> BackboneOptions:
        """Give the options of a network of this family."""
        return BackboneOptions() if patch_size(arch) is None else self.transformer


_DINO = Family(
    "dino", "DINO", (("teacher",),), ("backbone.*",), prefix="backbone.", dropped=(("head.*", "projection head"),)
)

FAMILIES: tuple[Family, ...] = (
    _DINO,
    replace(_DINO, paths=((),), marks=("head.mlp.*", "head.last_layer.*")),  # a teacher without its file around it
    Family(
        "mae",
        "MAE",
        (("model",), ("state_dict",), ()),
        ("decoder_pred.*",),
        dropped=(("decoder_*", "decoder"), ("mask_token", "stand-in for hidden patches")),
        transformer=BackboneOptions(position="sincos_columns", init="xavier"),
    ),
    Family(
        "data2vec",
        "data2vec",
        (("model",), ("model_ema",), ("state_dict",), ()),
        ("rel_pos_bias.*",),
        dropped=(
            ("lm_head.*", "prediction head"),
            ("mask_token", "stand-in for hidden patches"),
            ("norm.*", "norm before the prediction head; the mean of the patches has its own"),
            ("head.*", "classification head"),
        ),
        fresh=(("fc_norm.*", "norm of the mean of the patches: ones and zeros until it is fine-tuned"),),
        transformer=BackboneOptions(pooling="mean_norm", position="relative", init="beit", layer_scale=1e-4),
    ),
    Family(
        "moco_v2",
        "MoCo v2",
        (("state_dict",), ()),
        ("encoder_q.*",),
        prefix="encoder_q.",
        dropped=(
            ("encoder_q.fc.*", "projection head"),
            ("encoder_k.*", "key encoder"),
            ("queue", "queue of keys"),
            ("queue_ptr", "place in the queue"),
        ),
    ),
    Family(
        "moco_v3",
        "MoCo v3",
        (("state_dict",), ()),
        ("base_encoder.*",),
        prefix="base_encoder.",
        dropped=(
            ("base_encoder.head.*", "projection head"),
            ("base_encoder.fc.*", "projection head"),
            ("momentum_encoder.*", "momentum encoder"),
            ("predictor.*", "predictor"),
        ),
        transformer=BackboneOptions(position="sincos_rows", init="xavier_qkv"),
    ),
    Family(
        "torchgeo",
        "TorchGeo (MoCo, SimCLR)",
        (("state_dict",), ()),
        ("projection_head.*", "backbone_momentum.*"),
        prefix="backbone.",
        dropped=(
            ("projection_head.*", "projection head"),
            ("backbone_momentum.*", "momentum encoder"),
            ("projection_head_momentum.*", "projection head of the momentum encoder"),
            ("prediction_head.*", "predictor"),
            ("criterion.*", "memory bank"),
            ("augmentation*", "numbers of the augmentations"),
        ),
    ),
    Family(
        "flat",
        "an encoder alone",
        (("state_dict",), ("model",), ()),
        ("conv1.weight", "conv1.0.weight", "cls_token"),
        dropped=_HEADS,
    ),
)
"""In the order in which they are looked for: the last one fits the encoder of every other."""


@dataclass(frozen=True)
class KeyReport:
    """What became of each key of a file."""

    family: FamilyName
    where: str
    """Levels above the weights, joined by dots; empty for none."""
    used: Mapping[str, str]
    """Key in the file -> key in the network."""
    dropped: Mapping[str, str]
    """Key in the file -> what it is."""
    derived: tuple[str, ...] = ()
    """Keys whose values the network computes itself; they were compared."""
    fresh: Mapping[str, str] = field(default_factory=dict[str, str])
    """Key in the network -> why the file need not have it."""
    unexpected: tuple[str, ...] = ()
    """Keys in the file that nothing explains."""
    missing: tuple[str, ...] = ()
    """Keys in the network that the file should have."""
    stripped: tuple[str, ...] = ()
    """Prefixes that every key of the file has, the outer one first; they are not part of the keys above."""
    others: tuple[str, ...] = ()
    """Levels of the file with an encoder too, which was not taken."""

    @property
    def renamed(self) -> dict[str, str]:
        """Those used under another name than the file's."""
        return {old: new for old, new in self.used.items() if old != new}

    def lines(self) -> list[str]:
        """Say it key by key."""
        rows = [f"stripped    {prefix} ({WRAPPERS[prefix]})" for prefix in self.stripped]
        rows += [f"other       {name} (an encoder too, not taken)" for name in self.others]
        rows += [f"used        {old}{'' if old == new else f' as {new}'}" for old, new in self.used.items()]
        rows += [f"dropped     {key} ({what})" for key, what in self.dropped.items()]
        rows += [f"derived     {key}" for key in self.derived]
        rows += [f"fresh       {key} ({why})" for key, why in self.fresh.items()]
        rows += [f"unexpected  {key}" for key in self.unexpected]
        return rows + [f"missing     {key}" for key in self.missing]

    def summary(self) -> str:
        """Say it in one line, what is dropped by its meaning."""
        kinds = dict.fromkeys(self.dropped.values())
        left = ", ".join(f"{sum(w == kind for w in self.dropped.values())} of the {kind}" for kind in kinds)
        taken = f"{len(self.used)} tensors used" + (f" of {self.where}" if self.others and self.where else "")
        parts = [
            taken + (f", without {''.join(self.stripped)} before their keys" if self.stripped else ""),
            f"left out: {left}" if left else "",
            f"another encoder lies in {' and '.join(self.others)}" if self.others else "",
            f"fresh: {', '.join(self.fresh)}" if self.fresh else "",
        ]
        return "; ".join(filter(None, parts))


@dataclass(frozen=True)
class State:
    """The weights of a file that a family was found in."""

    family: Family
    where: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    """By key, without what is around every key."""
    beside: Mapping[str, Any]
    """What else lies at the top of the file."""
    stripped: tuple[str, ...]
    """Of WRAPPERS, what was taken off every key, the outer one first."""
    no_tensors: Mapping[str, str] = field(default_factory=dict[str, str])
    """Keys among the tensors whose values are none, and what they are."""


def find_state(container: Mapping[str, Any], path: object) -> State:
    """Find the weights in what a file holds, and whose they are.

    Args:
        container: the top level of the file.
        path: of the file, for the message.

    Raises:
        CheckpointInvalid: no known family keeps its weights like this.
    """
    levels = {where: list(_unwrapped(container, where)) for family in FAMILIES for where in family.paths}
    for family in FAMILIES:
        for where in family.paths:
            for tensors, stripped in levels[where]:
                if any(fnmatch.filter(tensors, mark) for mark in family.marks):
                    kept = where[:1] or tuple(name for name, value in container.items() if isinstance(value, Tensor))
                    beside = {name: value for name, value in container.items() if name not in kept}
                    return State(family, where, tensors, beside, stripped, _no_tensors(container, where))
    top = ", ".join(map(str, list(container)[:8])) or "nothing"
    raise CheckpointInvalid(
        f"{path} holds {top}{', ...' if len(container) > 8 else ''}{_seen(container)}",
        expected=f"weights of {', '.join(dict.fromkeys(family.title for family in FAMILIES))}, by their keys",
        remedy="`ssl4eo checkpoints inspect` shows what is in it; keys of an encoder alone must have nothing before "
        f"them, or what is around every key of a file ({', '.join(WRAPPERS)})",
        path=str(path),
    )


def _unwrapped(
    container: Mapping[str, Any], where: tuple[str, ...]
) -> Iterator[tuple[dict[str, Tensor], tuple[str, ...]]]:
    """Give the tensors of a level as they are, then without one prefix after another that all of them have."""
    tensors, stripped = _tensors_at(container, where), ()
    while tensors:
        yield tensors, stripped
        prefix = next((p for p in WRAPPERS if all(key.startswith(p) for key in tensors)), None)
        if prefix is None:
            return
        tensors, stripped = {key.removeprefix(prefix): value for key, value in tensors.items()}, (*stripped, prefix)


def _no_tensors(container: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, str]:
    """Name what lies among the tensors of a level and is none; a level below it is no part of it."""
    level: Any = container
    for name in where:
        level = level[name]
    return {
        str(key): f"value of type {type(value).__name__}, no tensor"
        for key, value in level.items()
        if not isinstance(value, Tensor | Mapping)
    }


def _tensors_at(container: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, Tensor]:
    level: Any = container
    for name in where:
        level = level.get(name) if isinstance(level, Mapping) else None
    if not isinstance(level, Mapping):
        return {}
    return {str(key): value for key, value in level.items() if isinstance(value, Tensor)}


def _seen(container: Mapping[str, Any]) -> str:
    """Say how the keys of the most tensors on one level begin, and what was taken off them."""
    places = [(), *((str(name),) for name, value in container.items() if isinstance(value, Mapping))]
    where = max(places, key=lambda place: len(_tensors_at(container, place)))
    stages = list(_unwrapped(container, where))
    if not stages:
        return ""
    tensors, stripped = stages[-1]
    begins = Counter(key.split(".")[0] + ("." if "." in key else "") for key in tensors)
    rows = [f"{begin} ({count})" for begin, count in begins.most_common(_MOST_BEGINS)]
    level, around = f" of {where[0]}" if where else "", f"{''.join(stripped)}, then " if stripped else ""
    more = ", ..." if len(begins) > len(rows) else ""
    return f"; {len(tensors)} keys{level} begin with {around}{', '.join(rows)}{more}"


def encoder_of(state: State) -> tuple[dict[str, Tensor], KeyReport]:
    """Pick the encoder's tensors under the names of the network; the report still lacks what the network says."""
    family, weights = state.family, dict[str, Tensor]()
    used, dropped, unexpected = dict[str, str](), dict(state.no_tensors), list[str]()
    for key, value in state.tensors.items():
        name = key.removeprefix(family.prefix)
        reason = next((what for pattern, what in family.dropped if fnmatch.fnmatchcase(key, pattern)), None)
        if reason is not None:
            dropped[key] = reason
        elif family.prefix and name == key:
            unexpected.append(key)
        else:
            weights[name], used[key] = value, name
    others = tuple(str(name) for name, level in state.beside.items() if _holds_encoder(level))
    report = KeyReport(family.name, ".".join(state.where), used, dropped, unexpected=tuple(unexpected))
    return weights, replace(report, stripped=state.stripped, others=others)


def _holds_encoder(level: object) -> bool:
    """Say whether a level of a file has the first layer of a network, whatever is before its key."""
    keys = map(str, level) if isinstance(level, Mapping) else ()
    return any(f".{key}".endswith(tuple(f".{layer}" for layer in FIRST_LAYERS)) for key in keys)
