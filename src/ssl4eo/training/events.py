# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's event files: the numbers of the log once more, for those who watch runs there.

The package `tensorboard` writes them; it is an extra, and asked for only where `engine.tensorboard` is on.
log.jsonl stays the record: events are written behind, and a killed run may lack its last two minutes of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from ssl4eo.errors import ConfigInvalid

FOLDER = "tensorboard"
"""Of the event files, in the folder of the run."""


def require_tensorboard() -> None:
    """Raise unless event files can be written.

    Raises:
        ConfigInvalid: the package is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigInvalid(
            "engine.tensorboard is on and the package tensorboard is not installed",
            expected="tensorboard 2.18 or newer",
            remedy="pip install 'ssl4eo[tensorboard]', or leave engine.tensorboard off: log.jsonl has the same numbers",
        )


class Events:
    """Writes scalars to RUN/tensorboard."""

    def __init__(self, run: Path, *, first_step: int) -> None:
        """Open a new event file; what an earlier one has from `first_step` on is void."""
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(run / FOLDER), purge_step=first_step + 1)

    def add(self, group: str, step: int, values: Mapping[str, float | None]) -> None:
        """Write each value under `group/name`."""
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()
