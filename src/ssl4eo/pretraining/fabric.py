# SPDX-License-Identifier: Apache-2.0
"""Lightning Fabric, loaded without the packages of which it wants no more than the version.

To compare the version of torchmetrics it imports it, and with it scipy.signal, matplotlib and torchvision: a third of
what every process of a run computed before its first step. Who installed a package knows its version as well.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lightning_utilities.core import imports
from packaging.version import Version


def _compare_version(package: str, op: Callable[..., bool], wanted: str, use_base_version: bool = False) -> bool:
    """Compare the version that is loaded or installed; False where there is none. Arguments as of the function."""
    try:
        found = Version(getattr(sys.modules.get(package), "__version__", None) or version(package))
    except PackageNotFoundError:
        return False
    return op(Version(found.base_version) if use_base_version else found, Version(wanted))


@contextlib.contextmanager
def _asking_the_installation() -> Generator[None]:
    """Let modules that are imported in the block compare versions without an import."""
    before: Any = imports.compare_version
    imports.compare_version = _compare_version
    try:
        yield
    finally:
        imports.compare_version = before


with _asking_the_installation():
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from lightning_fabric.utilities.rank_zero import rank_zero_only

__all__ = (
    "DDPStrategy",
    "Fabric",
    "MisconfigurationException",
    "ModelParallelStrategy",
    "SLURMEnvironment",
    "rank_zero_only",
)
