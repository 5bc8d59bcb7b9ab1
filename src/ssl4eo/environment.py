# SPDX-License-Identifier: Apache-2.0
"""Under which versions and on which machine something was computed: the record beside every result.

Versions are read from package metadata, so that nothing heavy is imported for the record; torch is
asked for its threads and devices only where it is already loaded. Names of hosts, users and folders stay out.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "timm", "numpy", "scikit-learn", "lightning-fabric", "zarr")
"""Packages whose versions can change a number."""


def environment() -> dict[str, Any]:
    """Describe this process as plain JSON values.

    Returns:
        `ssl4eo` and each of PACKAGES with its version (None where it is not installed), `commit` (None outside
        a checkout, ending in `-dirty` where tracked files differ from it), `python`, `machine`, `threads`,
        and `started`, the time of the call [UTC, ISO 8601].
    """
    return {
        "ssl4eo": version("ssl4eo"),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "machine": machine(),
        "threads": _threads(),
        "started": now(),
    }


def versions() -> dict[str, str | None]:
    """Give the versions alone: of Python, this package and PACKAGES."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("ssl4eo", *PACKAGES)}}


def now() -> str:
    """Give the time [UTC] as ISO 8601 with seconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def version(package: str) -> str | None:
    """Look an installed version up, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(folder: Path | None = None) -> str | None:
    """Give the git commit of the checkout that this package is imported from.

    Args:
        folder: of the package, None for this one.

    Returns:
        40 hexadecimal digits, followed by `-dirty` where tracked files were changed since; None where the package
        is installed without its checkout, or git is absent. A repository that merely contains the
        installation (a virtual environment inside another project) does not count.
    """
    folder = Path(__file__).resolve().parent if folder is None else folder.resolve()
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    if tracked is None:
        return None
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        [git, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
    )
    return done.stdout.strip() or None if done.returncode == 0 else None


def machine() -> dict[str, Any]:
    """Describe the hardware: system, processor, cores this process may use, accelerators torch knows of."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": _cores(),
        "accelerators": _accelerators(),
    }


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerators() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _threads() -> int:
    torch = sys.modules.get("torch")
    return _cores() if torch is None else torch.get_num_threads()
