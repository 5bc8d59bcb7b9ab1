# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints export`: a network in the form of another library."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console


def run_export(source: str, form: str, out: Path, *, licence: str | None = None, json: bool = False) -> int:
    """Export a checkpoint and tell what was written, how to load it, and what it lacks.

    Args:
        source: a run's folder, a backbone.safetensors, or a name; the form published takes a run's folder.
        form: timm, torchvision, torchgeo, huggingface, onnx or published.
        out: file or folder to make.
        licence: of the weights, for the card.
        json: print JSON for programs.
    """
    from ssl4eo.checkpoints.export import export

    facts = export(source, form, out, licence=licence).to_json()
    if json:
        sys.stdout.write(dumps(facts, indent=2, ensure_ascii=False) + "\n")
    else:
        _show(facts)
    return 0


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
