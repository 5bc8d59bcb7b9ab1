# SPDX-License-Identifier: Apache-2.0
"""Networks of a hundredth of the weights, for runs whose claims do not depend on the size of a network.

They have every kind of part that their larger relatives have: batch norm and both residual blocks, a class token and
several transformer blocks. What a run costs is then its start and its checkpoints, not its matrices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from ssl4eo.backbones import architectures
from ssl4eo.backbones.architectures import ResNetShape, ViTShape

SMALL: Mapping[str, ResNetShape | ViTShape] = {
    "resnet_thin": ResNetShape("test_resnet"),
    "vit_thin_8": ViTShape(8, 48, 2, 3),
}


@contextmanager
def small_networks() -> Iterator[None]:
    """Let the library know them, in every module that has the table of networks by its name; take them away again."""
    known = architectures.ARCHITECTURES
    more = MappingProxyType({**known, **SMALL})
    _replace(known, more)
    try:
        yield
    finally:
        _replace(more, known)  # also in modules that were imported meanwhile


def _replace(old: object, new: object) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("ssl4eo.") and vars(module).get("ARCHITECTURES") is old:
            module.ARCHITECTURES = new  # type: ignore[attr-defined]
