# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints export`: a network in the form of another library."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Generator
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from ssl4eo.checkpoints.cache import OFFLINE_VARIABLE
from ssl4eo.files import require_absent, require_writable

CHATTY = ("onnxscript", "onnx_ir")
"""Loggers that tell each step of the optimizer of graphs."""


def run_export(
    source: str, form: str, out: Path, *, licence: str | None = None, offline: bool = False, json: bool = False
) -> int:
    """Export a checkpoint and tell what was written, how to load it, and what it lacks.

    Args:
        source: anything that `load_backbone` takes; for the form published a run's folder.
        form: timm, torchvision, torchgeo, huggingface, onnx or published.
        out: file or folder to make.
        licence: of the weights, for the card.
        offline: fetch nothing.
        json: print JSON for programs.

    Raises:
        TargetExists: something stands under `out`.
        WriteFailed: nothing can be written there.
    """
    require_absent(out, "export")
    require_writable(out)  # before torch is loaded and a network is fetched
    from ssl4eo.checkpoints.export import export

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with _offline() if offline else contextlib.nullcontext():
        facts = export(source, form, out, licence=licence).to_json()
    if json:
        sys.stdout.write(dumps(facts, indent=2, ensure_ascii=False) + "\n")
    else:
        _show(facts)
    return 0


@contextlib.contextmanager
def _offline() -> Generator[None]:
    """Fetch nothing for the length of the block: a source is loaded in several places, and all ask the environment."""
    before = os.environ.get(OFFLINE_VARIABLE)
    os.environ[OFFLINE_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE_VARIABLE]
        else:
            os.environ[OFFLINE_VARIABLE] = before


def _show(facts: dict[str, Any]) -> None:
    console = Console(file=sys.stdout, soft_wrap=True, markup=False, highlight=False)
    for file in facts["files"]:
        console.print(f"{'wrote':<10}{file['path']}  {file['bytes']:,} bytes  sha256 {file['sha256'][:8]}")
    console.print(f"{'load':<10}{facts['load']}")
    rows = {
        "note": facts["notes"],
        "dropped": [f"{key}: the form has no place for it" for key in facts["dropped"]],
        "made": [f"{key}: computed, a constant of the network's size" for key in facts["made"]],
        "left out": [f"{name}: a published file has it, this run has no counterpart" for name in facts["absent"]],
    }
    for kind, lines in rows.items():
        for line in lines:
            console.print(f"{kind:<10}{line}")
