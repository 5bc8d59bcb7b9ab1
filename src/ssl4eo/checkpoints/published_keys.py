# SPDX-License-Identifier: Apache-2.0
"""Our names of a method's weights beside those of the published full checkpoints: one table, read in both directions.

A published checkpoint is a container of parts (`state_dict`, `teacher`, `model`, ...), each a flat mapping of keys.
A rule says that our keys with one prefix are a part's keys with another; the longest prefix that fits decides, and
only prefixes are exchanged, never the middle of a name. Optimizers are not translated: theirs list other parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ssl4eo.backbones.positions import sincos_positions
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, unknown_name

Shaping = Literal["same", "transposed", "one_number", "one_row"]
"""same; transposed: (K, D) of ours is (D, K) of theirs; one_number: () is (1,); one_row: (K,) is (1, K)."""

_SHAPINGS: Mapping[Shaping, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        "same": (lambda ours: ours, lambda theirs: theirs),
        "transposed": (lambda ours: ours.T.contiguous(), lambda theirs: theirs.T.contiguous()),
        "one_number": (lambda ours: ours.reshape(1), lambda theirs: theirs.reshape(())),
        "one_row": (lambda ours: ours[None], lambda theirs: theirs.squeeze(0)),
    }
)
"""(ours -> published, published -> ours)."""


@dataclass(frozen=True)
class Rule:
    """Our keys `ours...` are the keys `published...` of a part."""

    ours: str | None
    """A prefix that ends in a dot, or a whole key; None for what we have no use for."""
    part: str
    """Name in the container."""
    published: str
    """A prefix that ends in a dot, a whole key, or "" for a part that is a network and little else."""
    shaping: Shaping = "same"


@dataclass(frozen=True)
class Constant:
    """A table that published files hold and we compute: a function of sizes, not of training."""

    part: str
    key: str
    compute: Callable[[Mapping[str, Tensor]], Tensor]
    """From our state."""


@dataclass(frozen=True)
class Layout:
    """The published form of one method around one kind of network."""

    rules: tuple[Rule, ...]
    """The first one is of the network that is kept."""
    constants: tuple[Constant, ...] = ()
    absent: tuple[str, ...] = ()
    """What published files hold and ours have no counterpart of, in words."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the container, in order."""
        return tuple(dict.fromkeys(rule.part for rule in self.rules))


class Mapped(NamedTuple):
    """A translated checkpoint."""

    values: dict[str, Any]
    """Parts of a published container, each a dict of tensors; or our state."""
    dropped: tuple[str, ...]
    """Keys of the source that have no place in the result: ours, or `part/key` and whole parts of the container."""
    made: tuple[str, ...] = ()
    """`part/key` of constants that were computed, not found."""
    absent: tuple[str, ...] = ()
    """What the result's form usually holds and the source does not have, in words."""


def _decoder_positions(state: Mapping[str, Tensor]) -> Tensor:
    grid = round((state["backbone.net.pos_embed"].shape[1] - 1) ** 0.5)
    return sincos_positions(state["decoder.mask_token"].shape[2], grid, columns_first=True)[None]


def _relative_index(state: Mapping[str, Tensor]) -> Tensor:
    num_offsets, _ = state["backbone.net.rel_pos_bias.relative_position_bias_table"].shape  # (2 g - 1)^2 + 3
    grid = (round((num_offsets - 3) ** 0.5) + 1) // 2
    from timm.models.beit import RelativePositionBias

    return RelativePositionBias((grid, grid), num_heads=1).get_buffer("relative_position_index").clone()


def _dino(teacher: str) -> Layout:
    """Lay DINO out: a residual teacher was wrapped for its batch norm, a transformer was not; students always were."""
    return Layout(
        rules=(
            Rule("backbone.net.", "teacher", f"{teacher}backbone."),
            Rule("teacher_head.", "teacher", f"{teacher}head."),
            Rule("student.net.", "student", "module.backbone."),
            Rule("student_head.", "student", "module.head."),
            Rule("center", "dino_loss", "center", "one_row"),
        ),
        absent=("optimizer", "fp16_scaler"),
    )


def _moco_v3(head: str) -> Layout:
    """Lay MoCo v3 out: the projector stands in place of the network's classifier, `head` or `fc`."""
    return Layout(
        rules=(
            Rule("backbone.net.", "state_dict", "module.base_encoder."),
            Rule("projector.", "state_dict", f"module.base_encoder.{head}."),
            Rule("momentum_backbone.net.", "state_dict", "module.momentum_encoder."),
            Rule("momentum_projector.", "state_dict", f"module.momentum_encoder.{head}."),
            Rule("predictor.", "state_dict", "module.predictor."),
        ),
        absent=("optimizer", "scaler"),
    )


_INDEX = "rel_pos_bias.relative_position_index"

LAYOUTS: Mapping[tuple[str, str], Layout] = MappingProxyType(
    {
        ("moco_v2", "resnet"): Layout(
            rules=(
                Rule("backbone.net.", "state_dict", "module.encoder_q."),
                Rule("head.", "state_dict", "module.encoder_q.fc."),
                Rule("key_backbone.net.", "state_dict", "module.encoder_k."),
                Rule("key_head.", "state_dict", "module.encoder_k.fc."),
                Rule("queue.keys", "state_dict", "module.queue", "transposed"),
                Rule("queue.pointer", "state_dict", "module.queue_ptr", "one_number"),
            ),
            absent=("optimizer",),
        ),
        ("moco_v3", "transformer"): _moco_v3("head"),
        ("moco_v3", "resnet"): _moco_v3("fc"),
        ("dino", "transformer"): _dino(""),
        ("dino", "resnet"): _dino("module."),
        ("mae", "transformer"): Layout(
            rules=(
                Rule("backbone.net.", "model", ""),
                Rule("decoder.embed.", "model", "decoder_embed."),
                Rule("decoder.mask_token", "model", "mask_token"),
                Rule("decoder.blocks.", "model", "decoder_blocks."),
                Rule("decoder.norm.", "model", "decoder_norm."),
                Rule("decoder.predict.", "model", "decoder_pred."),
                Rule(None, "model", "decoder_pos_embed"),
            ),
            constants=(Constant("model", "decoder_pos_embed", _decoder_positions),),
            absent=("optimizer", "scaler"),
        ),
        ("data2vec", "transformer"): Layout(
            rules=(
                Rule("backbone.net.", "model", ""),
                Rule("mask_token", "model", "mask_token"),
                Rule("head.", "model", "lm_head."),
                Rule(None, "model", _INDEX),
                Rule("teacher.net.", "model_ema", ""),
                Rule(None, "model_ema", "mask_token"),
                Rule(None, "model_ema", "lm_head."),
                Rule(None, "model_ema", _INDEX),
            ),
            constants=(Constant("model", _INDEX, _relative_index), Constant("model_ema", _INDEX, _relative_index)),
            absent=("optimizer", "scaler", "model_ema/mask_token", "model_ema/lm_head"),
        ),
    }
)
"""(method, kind of network) -> published form."""

METHODS = tuple(dict.fromkeys(method for method, _ in LAYOUTS))

_ONLY_OF: Mapping[str, str] = MappingProxyType(
    {
        "moco_v2": "queue.keys",
        "moco_v3": "momentum_projector.0.weight",
        "dino": "center",
        "mae": "decoder.mask_token",
        "data2vec": "teacher.net.cls_token",
    }
)
"""Method -> a key of our state that no other method has."""

_FIRST_LAYER: Mapping[str, str] = MappingProxyType(
    {
        "resnet": "conv1.weight",
        "transformer": "patch_embed.proj.weight",
        "resnet with a stem of several layers": "conv1.0.weight",
    }
)
"""Kind of network -> a key that no other kind has."""


def method_of(state: Mapping[str, Tensor]) -> str:
    """Say which method a state of ours is of.

    Raises:
        CheckpointInvalid: of none.
    """
    for method, key in _ONLY_OF.items():
        if key in state:
            return method
    raise CheckpointInvalid(
        f"a state of {len(state)} keys of no known method", expected=f"one of {', '.join(METHODS)}: {dict(_ONLY_OF)}"
    )


def to_published(method_name: str, state: Mapping[str, Tensor]) -> Mapped:
    """Translate our state of a method into the parts of a published full checkpoint.

    Args:
        method_name: one of METHODS.
        state: `Method.state_dict()`, on any device (on `meta` constants have values, nothing else does).

    Returns:
        Parts such as {"state_dict": {...}}, nothing dropped, and the constants that were computed.

    Raises:
        UnknownName: no such method.
        ConfigInvalid: nobody has published this method around such a network.
        CheckpointInvalid: a key that no rule knows, or no network.
    """
    _require_method(method_name)
    network = next((kind for kind, layer in _FIRST_LAYER.items() if f"backbone.net.{layer}" in state), None)
    if network is None:
        raise CheckpointInvalid(f"a state of {method_name} without a network", expected="keys backbone.net.*")
    if (method_name, network) not in LAYOUTS:
        raise ConfigInvalid(
            f"{method_name} around a {network}",
            expected=f"a published form: {', '.join(f'{m} around a {n}' for m, n in LAYOUTS)}",
            remedy="export the backbone in another form, for instance timm",
        )
    layout = LAYOUTS[method_name, network]
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in layout.parts}
    unknown: list[str] = []
    for key, value in state.items():
        rule = _longest(((r, r.ours) for r in layout.rules if r.ours is not None), key)
        if rule is None or rule.ours is None:
            unknown.append(key)
            continue
        parts[rule.part][rule.published + key[len(rule.ours) :]] = _SHAPINGS[rule.shaping][0](value)
    if unknown:
        raise CheckpointInvalid(
            f"{len(unknown)} keys of {method_name} have no published name ({', '.join(unknown[:3])})",
            expected="the state of this version",
        )
    for constant in layout.constants:
        parts[constant.part][constant.key] = constant.compute(state)
    made = tuple(f"{constant.part}/{constant.key}" for constant in layout.constants)
    return Mapped(dict(parts), dropped=(), made=made, absent=layout.absent)


def from_published(method_name: str, container: Mapping[str, Any]) -> Mapped:
    """Translate a published full checkpoint into our state of the method.

    Whether the result is whole is for `load_state_dict(strict=True)` to say: published files differ in what they hold.

    Args:
        method_name: one of METHODS.
        container: what `torch.load` gave.

    Returns:
        Our keys with tensors, those of the file where the shape is the same; and all that was dropped.

    Raises:
        UnknownName: no such method.
        CheckpointInvalid: no network of this method in it, a value that is no tensor, or a table of positions that
            is not the one that ours computes.
    """
    _require_method(method_name)
    layout = _layout_of(method_name, container)
    state: dict[str, Tensor] = {}
    dropped = [str(part) for part in container if part not in layout.parts]
    for part in layout.parts:
        for key, value in container.get(part, {}).items():
            rule = _longest(((r, r.published) for r in layout.rules if r.part == part), key)
            if rule is None or rule.ours is None:
                dropped.append(f"{part}/{key}")
                continue
            if not isinstance(value, Tensor):
                raise CheckpointInvalid(f"{part}/{key} is a {type(value).__name__}", expected="a tensor")
            state[rule.ours + key[len(rule.published) :]] = _SHAPINGS[rule.shaping][1](value)
    for constant in layout.constants:
        _require_constant(constant, container.get(constant.part, {}).get(constant.key), state)
    return Mapped(state, dropped=tuple(dropped))


def _require_method(method_name: str) -> None:
    if method_name not in METHODS:
        raise unknown_name("method", method_name, METHODS)


def _layout_of(method_name: str, container: Mapping[str, Any]) -> Layout:
    """Find the layout whose network is in a container."""
    looked: list[str] = []
    for (method, network), layout in LAYOUTS.items():
        if method != method_name:
            continue
        kept = layout.rules[0]
        key, part = kept.published + _FIRST_LAYER[network], container.get(kept.part)
        if isinstance(part, Mapping) and key in part:
            return layout
        looked.append(f"{kept.part}/{key}")
    raise CheckpointInvalid(
        f"a container of {', '.join(map(str, container)) or 'nothing'} without a network of {method_name}",
        expected=" or ".join(looked),
        remedy="name the method that the file is of",
    )


def _longest(candidates: Iterable[tuple[Rule, str]], key: str) -> Rule | None:
    """Find the rule with the longest prefix of a key; one without a dot at its end stands for a whole key."""
    fitting = [
        (len(prefix), rule)
        for rule, prefix in candidates
        if key == prefix or ((not prefix or prefix.endswith(".")) and key.startswith(prefix))
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _require_constant(constant: Constant, found: object, state: Mapping[str, Tensor]) -> None:
    """Refuse a table that would be dropped though it is another one than ours."""
    if not isinstance(found, Tensor) or found.is_meta:
        return
    expected = constant.compute(state)
    if found.shape != expected.shape or not torch.allclose(found.to(expected), expected, atol=1e-5):
        raise CheckpointInvalid(
            f"{constant.part}/{constant.key} {tuple(found.shape)} is not the table that this version computes",
            expected=f"{tuple(expected.shape)}, equal to 1e-5",
            remedy="load the backbone alone",
        )
