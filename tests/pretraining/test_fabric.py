# SPDX-License-Identifier: Apache-2.0
"""Fabric is told the versions that are installed, as it would find them by importing."""

from __future__ import annotations

import operator

import pytest
from lightning_utilities.core import imports

from ssl4eo.pretraining import fabric


@pytest.mark.parametrize("package", ["torch", "torchmetrics", "numpy", "no_such_package"])
@pytest.mark.parametrize("op", [operator.ge, operator.lt, operator.eq])
@pytest.mark.parametrize("wanted", ["0.1", "1.0.0", "2.14.1", "99"])
@pytest.mark.parametrize("use_base_version", [False, True])
def test_versions_are_compared_as_by_the_function_that_is_replaced(package, op, wanted, use_base_version):
    """Which is in its place again."""
    assert imports.compare_version is not fabric._compare_version

    expected = imports.compare_version(package, op, wanted, use_base_version)

    assert fabric._compare_version(package, op, wanted, use_base_version) == expected
