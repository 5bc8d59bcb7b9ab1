# SPDX-License-Identifier: Apache-2.0
import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path

import ssl4eo
from ssl4eo.environment import commit, environment, version, versions


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def _package(folder: Path) -> Path:
    package = folder / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    return package


def test_environment_is_plain_json_with_what_a_run_needs() -> None:
    """The record survives JSON and carries the keys that reports read."""
    record = environment()

    assert json.loads(json.dumps(record)) == record
    assert {"ssl4eo", "commit", "python", "torch", "timm", "numpy", "machine", "threads", "started"} <= set(record)
    assert record["ssl4eo"] == ssl4eo.__version__
    assert record["threads"] >= 1
    assert dt.datetime.fromisoformat(record["started"]).utcoffset() == dt.timedelta(0)
    assert versions()["torch"] == record["torch"]


def test_environment_does_not_import_torch() -> None:
    """A process without torch can still say which torch is installed."""
    code = "import sys; from ssl4eo.environment import environment; e = environment(); print('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_commit_is_none_outside_a_repository(tmp_path: Path) -> None:
    """An installed package has no commit."""
    assert commit(_package(tmp_path)) is None


def test_commit_ignores_a_repository_that_only_contains_the_package(tmp_path: Path) -> None:
    """A virtual environment inside another project must not lend that project's commit."""
    package = _package(tmp_path)
    (tmp_path / "other.txt").write_text("x")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "other.txt")
    _git(tmp_path, "commit", "-q", "-m", "other")

    assert commit(package) is None


def test_commit_says_when_tracked_files_were_changed(tmp_path: Path) -> None:
    """A number from changed code is not blamed on the commit."""
    package = _package(tmp_path)
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")

    clean = commit(package)
    (package / "__init__.py").write_text("x = 2\n")
    dirty = commit(package)

    assert clean is not None
    assert re.fullmatch(r"[0-9a-f]{40}", clean)
    assert dirty == f"{clean}-dirty"


def test_version_of_something_absent_is_none() -> None:
    """A package that is not installed has no version."""
    assert version("no-such-package-of-ours") is None
