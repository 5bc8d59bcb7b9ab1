# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run whose list is lost: no step is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from ssl4eo.checkpoints.training_state import TrainingState, load_latest, load_step, save_state
from ssl4eo.errors import CheckpointInvalid


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints after steps 4 and 8, and without their list."""
    (tmp_path / "checkpoints").mkdir()
    for step in (4, 8):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "index.json").unlink()
    return tmp_path


def save(run: Path, step: int) -> None:
    """Write a checkpoint of one weight, which tells its step."""
    save_state(run, TrainingState(step, {}, {}, {"weight": torch.tensor(float(step))}, {}))


def test_lost_list_loses_no_step(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The files are tried with a warning; the next checkpoint leaves the one before, which can still be used."""
    state = load_latest(run)

    assert state is not None
    assert (state.step, state.method["weight"].item()) == (8, 8)
    assert "no list of checkpoints" in caplog.text

    save(run, 12)
    assert sorted(p.name for p in (run / "checkpoints").glob("*.pt")) == ["step-00000008.pt", "step-00000012.pt"]
    (run / "checkpoints" / "step-00000012.pt").write_bytes(b"damaged")
    state = load_latest(run)
    assert state is not None
    assert state.step == 8


def test_empty_checkpoint_of_unknown_hash_is_told(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The one before is used; a process that was told to read the empty one refuses it."""
    (run / "checkpoints" / "step-00000008.pt").write_bytes(b"")

    state = load_latest(run)

    assert state is not None
    assert state.step == 4
    assert "step-00000008.pt cannot be used" in caplog.text
    with pytest.raises(CheckpointInvalid, match=r"step-00000008\.pt cannot be read"):
        load_step(run, 8)


def test_flipped_bit_of_unknown_hash_is_told(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One bit of the weight itself: torch would read it without a word."""
    path = run / "checkpoints" / "step-00000008.pt"
    content, weight = path.read_bytes(), struct.pack("<f", 8.0)
    at = content.index(weight)
    path.write_bytes(content[:at] + struct.pack("<f", 9.0) + content[at + 4 :])
    assert torch.load(path, weights_only=True)["method"]["weight"].item() == 9

    state = load_latest(run)

    assert state is not None
    assert state.step == 4
    assert "fails its CRC" in caplog.text


def test_run_that_wrote_nothing_has_no_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No warning either."""
    assert load_latest(tmp_path) is None
    assert not caplog.text


def test_first_checkpoints_are_written_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new run has no list yet, and misses none."""
    (tmp_path / "checkpoints").mkdir()
    for step in (4, 8):
        save(tmp_path, step)

    assert not caplog.text
