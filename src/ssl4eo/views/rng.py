# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a sample, not to a process.

A counter-based generator keyed by (seed, epoch, index, stream): the same sample gets the same
view whatever the number of workers or ranks, and a resumed run sees what it would have seen.
"""

from __future__ import annotations

import numpy as np


def sample_rng(seed: int, *, epoch: int, index: int, stream: int = 0) -> np.random.Generator:
    """Make the generator of one sample in one epoch.

    Args:
        seed: of the run, 0 to 2**32 - 1.
        epoch: from 0.
        index: of the sample in its data set.
        stream: apart for independent uses, 0 to 255.
    """
    key = np.array([(seed << 32) | (epoch & 0xFFFFFFFF), (index << 8) | stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
