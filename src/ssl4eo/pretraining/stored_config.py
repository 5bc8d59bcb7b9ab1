# SPDX-License-Identifier: Apache-2.0
"""The config of a run, read back from its config.json: the value that `PretrainConfig.to_json` turned into plain ones.

The recipe's name is a name only: a config made in Python may carry any. So a method is told by its options, which no
two methods share, and the arrangement of views by its parts.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ssl4eo.errors import ConfigInvalid, Ssl4eoError
from ssl4eo.methods.data2vec import Data2VecConfig
from ssl4eo.methods.dino import DINOConfig
from ssl4eo.methods.mae import MAEConfig
from ssl4eo.methods.method import MethodConfig
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.methods.moco_v3 import MoCoV3Config
from ssl4eo.pretraining.config import BEFORE, PretrainConfig
from ssl4eo.views.config import MultiCrop, OneView, PairConfig, TwoViews, Views

METHODS: Mapping[type[MethodConfig], str] = types.MappingProxyType(
    {MoCoV2Config: "MoCo v2", MoCoV3Config: "MoCo v3", DINOConfig: "DINO", MAEConfig: "MAE", Data2VecConfig: "data2vec"}
)
"""Config of each method and its name."""
_ONE_VIEW = (MAEConfig, Data2VecConfig)
"""Methods of which a sample has one view: its parts are those of a pair, too."""


def stored_config(values: Mapping[str, Any]) -> PretrainConfig:
    """Build the config of a run from the `config` of its config.json.

    Raises:
        ConfigInvalid: options that no method of this version has, are absent, or cannot work.
    """
    values = {**BEFORE, **values}
    try:
        method = _only(METHODS, values["method"], "a method")
        views = _views_of(values["views"], method)
        kinds = typing.get_type_hints(PretrainConfig) | {"method": method, "views": views}
        return PretrainConfig(**{name: _built(kinds[name], value) for name, value in values.items()})
    except Ssl4eoError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigInvalid(
            f"a stored config cannot be read ({type(error).__name__}: {error})",
            expected="what `ssl4eo pretrain` of this version writes into config.json",
        ) from error


def _only(kinds: Mapping[type[Any], str], values: Mapping[str, Any], what: str) -> type[Any]:
    """Find the class whose fields these are."""
    for kind in kinds:
        if {field.name for field in fields(kind)} == set(values):
            return kind
    raise ConfigInvalid(
        f"{what} with the options {', '.join(sorted(values))}", expected=f"one of {', '.join(kinds.values())}"
    )


def _views_of(values: Mapping[str, Any], method: type[MethodConfig]) -> type[Views]:
    pair = OneView if method in _ONE_VIEW else PairConfig
    return _only({pair: "one or two views", TwoViews: "TwoViews", MultiCrop: "MultiCrop"}, values, "views")


def _built(kind: Any, value: Any) -> Any:
    """Turn a plain value into one of `kind`: objects into dataclasses, lists into tuples."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _built(hints[name], inner) for name, inner in value.items()})
    if isinstance(value, list):
        return tuple(_built(None, inner) for inner in value)
    return value
