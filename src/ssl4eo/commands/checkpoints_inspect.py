# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints inspect`: what is in a file of weights, in words, as JSON, and its first layer as a picture."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssl4eo.checkpoints.inspection import Inspection, inspect
from ssl4eo.checkpoints.load import checkpoint_file
from ssl4eo.errors import ConfigInvalid
from ssl4eo.files import require_writable, whole_or_told
from ssl4eo.report.filters import draw_filters


def run_inspect(name: str, *, filters: Path | None, keys: bool, offline: bool | None, json: bool) -> None:
    """Print what is in a file.

    Args:
        name: a file, a run's folder, a name of the catalog or an address.
        filters: where to draw the first layer, a PNG file; None for no picture.
        keys: list what becomes of each key.
        offline: fetch nothing.
        json: print JSON for programs.

    Raises:
        ConfigInvalid: an untrained network, which has no file; a picture of a file without a known first layer, or
            under a name of another kind of file.
        WriteFailed: no picture can be written there.
    """
    if filters is not None:
        _require_picture(filters)
    path = checkpoint_file(name, offline=offline)
    if path is None:
        raise ConfigInvalid(f"checkpoints inspect {name}", expected="a file", remedy="an untrained network has none")
    found = inspect(path)
    if filters is not None:
        _draw(found, filters)
    if json:
        print(jsonlib.dumps(_plain(found), indent=2))  # noqa: T201 - the result
        return
    print("\n".join(_lines(found, keys=keys, filters=filters)))  # noqa: T201 - the result


def _require_picture(out: Path) -> None:
    """Refuse before the work what could not be written, or would be taken for something else."""
    if out.suffix.lower() != ".png":
        remedy = f"try {out.with_suffix('.png')}" if out.name else "name one"
        raise ConfigInvalid(f"--filters {out}", expected="a file that ends in .png", remedy=remedy)
    require_writable(out)


def _draw(found: Inspection, out: Path) -> None:
    if found.first_layer is None:
        raise ConfigInvalid(f"a picture of the first layer of {found.path}", expected="an encoder of a known family")
    title = f"First layer of {Path(found.path).name}, {found.architecture}: strongest filters"
    with whole_or_told(out) as partial:
        partial.write_bytes(draw_filters(found.first_layer.numpy(), found.bands, title=title))


def _plain(found: Inspection) -> dict[str, Any]:
    rows = {name: value for name, value in vars(found).items() if name not in ("first_layer", "report", "layers")}
    report = None if found.report is None else asdict(found.report)
    return rows | {"report": report, "layers": [asdict(layer) for layer in found.layers]}


def _lines(found: Inspection, *, keys: bool, filters: Path | None) -> list[str]:
    """Say it for people."""
    size = f"{found.size / 1e6:,.1f} MB"
    seen = (found.image_size and f", images of {found.image_size} px") or ""
    network = f"{found.architecture}, {found.num_bands} bands{seen}" if found.num_bands else found.architecture
    count = found.num_encoder_parameters
    rows = [
        ("file", f"{found.path}, {size}"),
        ("family", found.family or "none that is known"),
        ("network", network or "none that is known"),
        ("epoch", "not told" if found.epoch is None else str(found.epoch)),
        ("weights", f"{found.num_tensors} tensors, {found.num_values:,} values"),
        ("encoder", "-" if count is None else f"{count:,} parameters"),
        ("optimizer", "yes" if found.has_optimizer else "no"),
        ("input", found.contract or "not told"),
    ]
    lines = [f"{name:<10} {text}" for name, text in rows]
    if found.report is not None:
        lines.append(f"{'keys':<10} {found.report.summary()}")
    if found.options:
        lines += ["", "options of its run", *(f"  {key} = {value}" for key, value in found.options.items())]
    if keys and found.report is not None:
        lines += ["", *found.report.lines()]
    elif keys:
        lines += ["", *(f"{layer.key} {layer.shape} {layer.dtype}" for layer in found.layers)]
    lines += ["", *(f"NOT LOADABLE: {obstacle}" for obstacle in found.obstacles)]
    if not found.obstacles:
        lines.append(f"load_backbone({found.path!r}){''.join(f', with {need}' for need in found.needed)}")
    return [*lines, f"{filters}"] if filters is not None else lines
