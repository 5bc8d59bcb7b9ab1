# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation mode, layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from torch import nn


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Generator[None]:
    """Put a module into evaluation mode for the length of the block, then every layer back as it was."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode
