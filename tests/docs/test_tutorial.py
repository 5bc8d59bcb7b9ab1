# SPDX-License-Identifier: Apache-2.0
"""Every block of docs/tutorial.md runs, in order, in one folder, and prints what the page shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_blocks import OUTPUT, blocks, missing, shape

from served_command import served_programs

PAGE = Path(__file__).resolve().parents[2] / "docs/tutorial.md"
COMMANDS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of `ssl4eo` and `python` that have their imports from one server."""
    folder = tmp_path_factory.mktemp("served")
    with served_programs(folder):
        yield folder


def _programs(folder: Path) -> None:
    """Write `ssl4eo` and `python` that are those of the tests, also where nothing is on the path."""
    folder.mkdir()
    for name, words in (("ssl4eo", "-m ssl4eo.cli"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)


def _found_in(folder: Path) -> dict[str, str]:
    """Give an environment in which programs are looked for in a folder first."""
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}


def test_every_block_of_the_tutorial_runs_and_prints_what_is_shown(tmp_path: Path, served: Path) -> None:
    """Shell by bash, Python by a process of its own, as a reader would.

    The first of each kind starts its program; those of the others have their imports from a server that all share.
    """
    here, started = tmp_path / "here", tmp_path / "started"
    here.mkdir()
    _programs(started)
    printed, kinds = "", []
    for block in blocks(PAGE):
        assert not block.not_run
        if block.kind == OUTPUT:
            line = missing(block.code, printed)
            assert not line, f"line {block.line}: {line!r} was not printed in its turn:\n{printed}"
            printed = ""
        else:
            environment = _found_in(served if block.kind in kinds else started)
            printed += _run(block.kind, block.code, here, environment, f"line {block.line}")
        kinds.append(block.kind)

    assert kinds.count("bash") >= 7
    assert kinds.count("python") == 2
    assert not printed.strip(), f"not shown: {printed}"


def _run(kind: str, code: str, folder: Path, environment: dict[str, str], where: str) -> str:
    """Run a block, and give what it prints."""
    command = ["/usr/bin/env", *COMMANDS[kind], code]  # env looks for the program in the path that it is given
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{where}: {done.stderr[-2000:]}"
    return done.stdout


def test_what_a_served_program_gets_and_gives(tmp_path: Path, served: Path) -> None:
    """Arguments, input, folder and environment; output, both streams, statuses and signals."""
    code = """
        import os, sys
        print(os.environ["TOLD"], os.getcwd(), __name__, sys.stdin.read())
        print("aside", file=sys.stderr)
        sys.exit(7)
    """.replace("\n        ", "\n")
    script = f"""
        echo given | python -c '{code}' || echo "ended $?"
        python -c 'raise ValueError("no")' || echo "ended $?"
        python -c 'import os; os.kill(os.getpid(), 9)' || echo "ended $?"
        ssl4eo nonsense || echo "ended $?"
        python -c 'print("x" * 100)' | python -c 'print(len(input()))'
    """
    environment = _found_in(served) | {"TOLD": "told"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout.split("\n") == [
        f"told {tmp_path} __main__ given", "", "ended 7", "ended 1", "ended 137", "ended 2", "100", "",
    ]  # fmt: skip
    assert done.stderr.startswith("aside\n")
    assert "ValueError: no" in done.stderr
    assert "nonsense" in done.stderr


def test_a_line_that_is_not_printed_is_found() -> None:
    """The comparison can fail: another word, another order; numbers are any."""
    assert shape("a 1 b 2.5e-3") == "a # b #"
    assert not missing("loss 1.0\ndone", "noise\nloss 3.25\nmore\ndone 7 % of it")
    assert missing("done\nloss 1.0", "loss 3.25\ndone") == "loss #"
    assert missing("loss 1.0 nats", "loss 1.0") == "loss # nats"
