# SPDX-License-Identifier: Apache-2.0
"""Every block of docs/tutorial.md runs, in order, in one folder, and prints what the page shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from page_blocks import OUTPUT, blocks, missing, shape

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorial.md"


def _programs(folder: Path) -> dict[str, str]:
    """Give an environment in which `ssl4eo` and `python` are those of the tests, also where nothing is on the path."""
    folder.mkdir()
    for name, words in (("ssl4eo", "-m ssl4eo.cli"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}


def test_every_block_of_the_tutorial_runs_and_prints_what_is_shown(tmp_path: Path) -> None:
    """Shell by bash, Python by a process of its own, as a reader would."""
    environment, here = _programs(tmp_path / "bin"), tmp_path / "here"
    here.mkdir()
    printed, kinds = "", []
    for block in blocks(PAGE):
        kinds.append(block.kind)
        assert not block.not_run
        if block.kind == OUTPUT:
            line = missing(block.code, printed)
            assert not line, f"line {block.line}: {line!r} was not printed in its turn:\n{printed}"
            printed = ""
            continue
        command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.kind]
        done = subprocess.run(
            [*command, block.code], cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"line {block.line}: {done.stderr[-2000:]}"
        printed += done.stdout

    assert kinds.count("bash") >= 7
    assert kinds.count("python") == 2
    assert not printed.strip(), f"not shown: {printed}"


def test_a_line_that_is_not_printed_is_found() -> None:
    """The comparison can fail: another word, another order; numbers are any."""
    assert shape("a 1 b 2.5e-3") == "a # b #"
    assert not missing("loss 1.0\ndone", "noise\nloss 3.25\nmore\ndone 7 % of it")
    assert missing("done\nloss 1.0", "loss 3.25\ndone") == "loss #"
    assert missing("loss 1.0 nats", "loss 1.0") == "loss # nats"
