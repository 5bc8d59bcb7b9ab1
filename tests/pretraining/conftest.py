# SPDX-License-Identifier: Apache-2.0
"""What the tests of pre-training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_networks import small_networks


@pytest.fixture(scope="module", autouse=True)
def thin() -> Iterator[None]:
    """Know the networks of `small_networks` too, which runs in other processes are told of by their driver."""
    with small_networks():
        yield
