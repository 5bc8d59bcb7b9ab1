# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo info`: what is in an archive."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssl4eo.archive.blank import blank_locations
from ssl4eo.archive.plausible import doubts_of
from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.errors import ContractMismatch
from ssl4eo.sensors import modality


def run(path: Path, *, ids: Literal["observed", "blank"] | None = None, json: bool = False) -> int:
    """Show what is in an archive: provenance, modalities, dates, sizes, what was left out.

    Args:
        path: of the archive
        ids: print ids of locations only, one a line as --ids of other commands takes them; observed, those whose
            images all show something; blank, the others, with an image of nothing but zeros
        json: print it as JSON

    Returns:
        Exit status 0.
    """
    archive = open_archive(path)
    facts = describe(archive) if ids is None else _ids(archive, ids)
    if json:
        sys.stdout.write(dumps(facts, indent=2, ensure_ascii=False) + "\n")
    elif isinstance(facts, list):
        sys.stdout.write("".join(f"{name}\n" for name in facts))
    else:
        _show(facts)
    return 0


def _ids(archive: Archive, which: Literal["observed", "blank"]) -> list[str]:
    """List the locations with an image of nothing but zeros, or all others."""
    blank = blank_locations(archive)
    if which == "blank":
        return blank
    left_out = frozenset(blank)
    return [name for name in archive.ids if name not in left_out]


def describe(archive: Archive) -> dict[str, Any]:
    """Gather what `info` tells, as plain values."""
    return {
        "path": str(archive.path),
        "synthetic": archive.provenance.synthetic,
        "title": archive.provenance.title,
        "licence": archive.provenance.licence,
        "details": dict(archive.provenance.details),
        "locations": len(archive),
        "seasons": archive.num_seasons,
        "shape": list(archive.shape),
        "modalities": {name: _modality(archive, name) for name in archive.modalities},
        "masks": list(archive.masks),
        "profile": archive.profile,
        "columns": list(archive.columns),
        "bytes": sum(file.stat().st_size for file in archive.path.rglob("*") if file.is_file()),
        "warnings": [str(doubt) for doubt in doubts_of(archive)],
        "skipped": [dict(row) for row in archive.skipped],
        **archive.facts,
    }


def _modality(archive: Archive, name: str) -> dict[str, Any]:
    folder = archive.path / name
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    raw = len(archive) * archive.num_seasons * archive.bytes_per_image(name)
    times, form = archive.times(name), archive.form(name)
    known = times[~np.isnat(times)]
    try:
        offset: int | None = archive.contract(name).offset
    except ContractMismatch:  # None says so: it differs from image to image
        offset = None
    return {
        "bands": list(form.bands),
        "grids": list(form.resolutions),
        "unit": modality(name).unit,
        "scaling": form.scaling,
        "step": form.step,
        "offset": offset,
        "dtype": form.dtype,
        "marked": len(archive.flagged(name)),
        "bytes": stored,
        "ratio": round(stored / raw, 4),
        "first": str(known.min()) if known.size else None,
        "last": str(known.max()) if known.size else None,
    }


def _show(facts: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)
    if facts["synthetic"]:
        console.print("SYNTHETIC: no satellite saw these pixels", style="bold")
    height, width = facts["shape"]
    rows = {
        "archive": facts["path"],
        "provenance": facts["title"],
        "licence": facts["licence"],
        "details": ", ".join(f"{name} {value}" for name, value in facts["details"].items()),
        "locations": f"{facts['locations']} x {facts['seasons']} seasons, {height} x {width} px at 10 m",
        "size": _size(facts["bytes"]),
        "masks": ", ".join(facts["masks"]),
        "columns": ", ".join(facts["columns"]),
        "written": f"{facts['created']} by {facts['software']}",
        "not valid": _marked(facts["modalities"]),
        "left out": f"{len(facts['skipped'])} locations" if facts["skipped"] else "",
    }
    for name, value in rows.items():
        if value:
            console.print(f"{name:<12}{escape(value)}", highlight=False)
    console.print(_table(facts["modalities"]))
    for line in facts["warnings"]:
        console.print(f"warning: {escape(line)}", highlight=False)
    for row in facts["skipped"][:5]:
        console.print(f"left out: {escape(row['reason'])}", highlight=False)
    if len(facts["skipped"]) > 5:
        console.print(f"and {len(facts['skipped']) - 5} more: --json lists all", highlight=False)


def _table(modalities: dict[str, dict[str, Any]]) -> Table:
    table = Table("modality", "bands", "values", "dates", "size", "of raw")
    for name, row in modalities.items():
        offset = "offset differs" if row["offset"] is None else f"offset {row['offset']}"
        rule = row["scaling"] if row["scaling"] != "none" else offset if row["unit"] == "DN" else ""
        values = ", ".join(
            filter(
                None,
                (
                    row["dtype"] if row["unit"] == row["dtype"] else f"{row['dtype']} {row['unit']}",
                    rule,
                    _step(row["step"]),
                ),
            )
        )
        dates = f"{row['first'][:10]} to {row['last'][:10]}" if row["first"] else "unknown"
        table.add_row(name, str(len(row["bands"])), values, dates, _size(row["bytes"]), f"{row['ratio']:.2f}")
    return table


def _marked(modalities: dict[str, dict[str, Any]]) -> str:
    """Say how many images of each modality have pixels that nobody saw, nothing where none has."""
    return ", ".join(f"{row['marked']} images of {name}" for name, row in modalities.items() if row["marked"])


def _step(step: float | None) -> str:
    return "" if step is None else f"in steps of {step:g}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
