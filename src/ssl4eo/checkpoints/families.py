# SPDX-License-Identifier: Apache-2.0
"""Who wrote a file of weights, told by its keys, and what becomes of each key.

One table: where a family keeps its weights, which prefix its encoder has, and what lies beside the encoder and why it
is left out. A key that the table does not explain is an error of whoever asks, never dropped silently.
Source of names and shapes: the training scripts of SSL4EO-S12 and of the papers, and facts read from their modules.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from ssl4eo.backbones.architectures import BackboneOptions, patch_size
from ssl4eo.errors import CheckpointInvalid

PARALLEL = "module."
"""What torch's DataParallel and DistributedDataParallel put before every key."""

FIRST_LAYERS = ("conv1.weight", "patch_embed.proj.weight")
"""Of the encoders that there are."""

FamilyName = Literal["moco_v2", "moco_v3", "dino", "mae", "data2vec", "flat"]
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
    """Of the encoder's keys, DataParallel's apart."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Patterns of keys that are no part of the backbone, and what they are; the first that fits counts."""
    fresh: tuple[tuple[str, str], ...] = ()
    """Patterns of keys that the network has and the file does not, and why that is right."""
    transformer: BackboneOptions = field(default_factory=BackboneOptions)
    """Options of its transformers."""

    def options(self, arch: str) -> BackboneOptions:
        """Give the options of a network of this family."""
        return BackboneOptions() if patch_size(arch) is None else self.transformer


FAMILIES: tuple[Family, ...] = (
    Family(
        "dino",
        "DINO",
        (("teacher",), ()),
        ("backbone.*",),
        prefix="backbone.",
        dropped=(("head.*", "projection head"),),
    ),
    Family(
        "mae",
        "MAE",
        (("model",), ()),
        ("decoder_pred.*",),
        dropped=(("decoder_*", "decoder"), ("mask_token", "stand-in for hidden patches")),
        transformer=BackboneOptions(position="sincos_columns", init="xavier"),
    ),
    Family(
        "data2vec",
        "data2vec",
        (("model",), ("model_ema",), ()),
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
        "flat", "an encoder alone", (("state_dict",), ("model",), ()), ("conv1.weight", "cls_token"), dropped=_HEADS
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

    @property
    def renamed(self) -> dict[str, str]:
        """Those used under another name than the file's."""
        return {old: new for old, new in self.used.items() if old != new}

    def lines(self) -> list[str]:
        """Say it key by key."""
        rows = [f"used        {old}{'' if old == new else f' as {new}'}" for old, new in self.used.items()]
        rows += [f"dropped     {key} ({what})" for key, what in self.dropped.items()]
        rows += [f"derived     {key}" for key in self.derived]
        rows += [f"fresh       {key} ({why})" for key, why in self.fresh.items()]
        rows += [f"unexpected  {key}" for key in self.unexpected]
        return rows + [f"missing     {key}" for key in self.missing]

    def summary(self) -> str:
        """Say it in one line, what is dropped by its meaning."""
        kinds = dict.fromkeys(self.dropped.values())
        left = ", ".join(f"{sum(w == kind for w in self.dropped.values())} of the {kind}" for kind in kinds)
        parts = [f"{len(self.used)} tensors used", f"left out: {left}" if left else ""]
        return "; ".join(filter(None, [*parts, f"fresh: {', '.join(self.fresh)}" if self.fresh else ""]))


@dataclass(frozen=True)
class State:
    """The weights of a file that a family was found in."""

    family: Family
    where: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    """By key, without DataParallel's prefix."""
    beside: Mapping[str, Any]
    """What else lies at the top of the file."""
    parallel: bool
    """Whether DataParallel's prefix was taken away."""


def find_state(container: Mapping[str, Any], path: object) -> State:
    """Find the weights in what a file holds, and whose they are.

    Args:
        container: the top level of the file.
        path: of the file, for the message.

    Raises:
        CheckpointInvalid: no known family keeps its weights like this.
    """
    for family in FAMILIES:
        for where in family.paths:
            tensors, parallel = _without_parallel(_tensors_at(container, where))
            if any(fnmatch.filter(tensors, mark) for mark in family.marks):
                beside = {name: value for name, value in container.items() if where and name != where[0]}
                return State(family, where, tensors, beside, parallel)
    top = ", ".join(map(str, list(container)[:8])) or "nothing"
    raise CheckpointInvalid(
        f"{path} holds {top}{', ...' if len(container) > 8 else ''}",
        expected=f"weights of {', '.join(family.title for family in FAMILIES)}, by their keys",
        remedy="`ssl4eo checkpoints inspect` shows what is in it",
        path=str(path),
    )


def _tensors_at(container: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, Tensor]:
    level: Any = container
    for name in where:
        level = level.get(name) if isinstance(level, Mapping) else None
    if not isinstance(level, Mapping):
        return {}
    return {str(key): value for key, value in level.items() if isinstance(value, Tensor)}


def _without_parallel(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Take DataParallel's prefix away, where every key has it."""
    if not tensors or not all(key.startswith(PARALLEL) for key in tensors):
        return tensors, False
    return {key.removeprefix(PARALLEL): value for key, value in tensors.items()}, True


def encoder_of(state: State) -> tuple[dict[str, Tensor], KeyReport]:
    """Pick the encoder's tensors under the names of the network; the report still lacks what the network says."""
    family, weights = state.family, dict[str, Tensor]()
    used, dropped, unexpected = dict[str, str](), dict[str, str](), list[str]()
    for key, value in state.tensors.items():
        name = key.removeprefix(family.prefix)
        reason = next((what for pattern, what in family.dropped if fnmatch.fnmatchcase(key, pattern)), None)
        if reason is not None:
            dropped[key] = reason
        elif family.prefix and name == key:
            unexpected.append(key)
        else:
            weights[name], used[key] = value, name
    return weights, KeyReport(family.name, ".".join(state.where), used, dropped, unexpected=tuple(unexpected))
