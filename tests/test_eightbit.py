# SPDX-License-Identifier: Apache-2.0
"""What values of the published 8-bit forms stand for."""

from __future__ import annotations

import numpy as np
import pytest

from ssl4eo.eightbit import unstretch
from ssl4eo.errors import UnknownName
from ssl4eo.sensors import modality


def test_stretched_values_turn_back_into_physical_units():
    """Worked by hand: 51 is a fifth of the range; 0 and 255 are its ends."""
    values = np.array([0, 51, 255], np.uint8)[None, None]

    assert unstretch(values, "L8TOA", ["B4"]).ravel() == pytest.approx([0, 0.08, 0.4])
    assert unstretch(values, "L5TOA", ["B6"]).ravel() == pytest.approx([248.15, 262.15, 318.15])
    assert unstretch(values, "L8SR", ["SR_B2"]).ravel() == pytest.approx([7272.7, 9454.52, 18181.8])


@pytest.mark.parametrize("name", ["L5TOA", "L7TOA", "L7SR", "L8TOA", "L8SR"])
def test_stretching_and_back_stays_within_one_step(name):
    """The authors' formula, written down anew, loses less than a step downwards."""
    bands = modality(name).bands
    low, high = (np.array([modality(name).stretch[b][i] for b in bands])[:, None, None] for i in (0, 1))
    truth = low + np.linspace(0, 1, 1001)[None, None] * (high - low)
    stretched = np.clip((truth - low) / (high - low) * 255, 0, 255).astype(np.uint8)

    error = (truth - unstretch(stretched, name, bands)) / ((high - low) / 255)

    assert error.min() > -1e-6
    assert error.max() < 1 + 1e-6


def test_what_was_not_stretched_is_refused():
    """Sentinel values, and bands of another level."""
    with pytest.raises(UnknownName, match="S2L1C"):
        unstretch(np.zeros((1, 1, 1), np.uint8), "S2L1C", ["B04"])
    with pytest.raises(UnknownName, match="L8SR B4"):
        unstretch(np.zeros((1, 1, 1), np.uint8), "L8SR", ["B4"])
