# SPDX-License-Identifier: Apache-2.0
"""Being asked to stop: by a cluster that needs the machine, or by somebody who is patient enough for a checkpoint.

SIGTERM and SIGUSR1 are noted and nothing else; the loop ends its step, writes a checkpoint and ends with STATUS.
SLURM sends SIGUSR1 some time before the end of a job (`--signal=USR1@120`): then the job may be queued again, by
`scontrol requeue`. After SIGTERM it is not: that is how `scancel` asks, and pre-empted jobs SLURM queues by itself.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
from types import FrameType, TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What asks a run to stop."""
STATUS = 75
"""Exit status of a run that was asked to stop: EX_TEMPFAIL of sysexits.h, try again later."""


class StopSignals:
    """Notes the signals for the length of a `with` block; outside the main thread, where none arrive, does nothing."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number)


def requeue() -> None:
    """Ask SLURM to queue this job again; says why where it cannot."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job is None or scontrol is None:
        log.warning("engine.requeue is on, but there is no %s here", "scontrol" if job else "SLURM job")
        return
    done = subprocess.run(  # noqa: S603 - SLURM's own command, no shell
        [scontrol, "requeue", job], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        log.info("SLURM job %s is queued again", job)
    else:
        log.warning("SLURM job %s was not queued again (%s); submit it yourself", job, done.stderr.strip())
