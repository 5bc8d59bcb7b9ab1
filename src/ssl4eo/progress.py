# SPDX-License-Identifier: Apache-2.0
"""A progress bar on stderr, with rate and time left; results on stdout stay clean."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def _what() -> TextColumn:
    return TextColumn("{task.description}", markup=False)  # names of files may have brackets


@contextlib.contextmanager
def _hidden_without_work(progress: Progress, task: TaskID) -> Generator[None]:
    """Take a bar away in the end that nobody moved: there was nothing to do."""
    try:
        yield
    finally:
        shown = progress.tasks[0]
        if shown.total is None and not shown.completed:
            progress.update(task, visible=False)


@contextlib.contextmanager
def progress_bar(what: str) -> Generator[Callable[[int, int | None], None]]:
    """Show a bar for the length of the block; give the function that moves it to (done, total)."""
    columns = (_what(), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        with _hidden_without_work(progress, task):
            yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def byte_bar(what: str) -> Generator[Callable[[int, int], None]]:
    """Do as `progress_bar` for bytes, with the rate in bytes a second; a total of 0 is unknown."""
    columns = (
        _what(),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        with _hidden_without_work(progress, task):
            yield lambda done, total: progress.update(task, completed=done, total=total or None)
