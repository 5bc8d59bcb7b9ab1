# SPDX-License-Identifier: Apache-2.0
"""Our own file of a backbone: safetensors with architecture, options, contract and training record in the header."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from ssl4eo.backbones.architectures import BackboneOptions, on_meta
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import contract_from_json
from ssl4eo.errors import CheckpointInvalid, Ssl4eoError
from ssl4eo.files import whole_or_told

FORMAT = 1
BACKBONE_FILE = "backbone.safetensors"
_HEADER = "ssl4eo"


def save_backbone(backbone: Backbone, path: Path, *, training: Mapping[str, Any]) -> None:
    """Write a backbone atomically.

    Args:
        backbone: what to keep.
        path: `*.safetensors`.
        training: plain values that say how it came about: recipe, seed, steps, commit.
    """
    header = {
        "format": FORMAT,
        "arch": backbone.arch,
        "image_size": backbone.image_size,
        "options": backbone.options.to_json(),
        "contract": backbone.contract.to_json(),
        "training": dict(training),
    }
    # Strides are not kept in the file: weights are made contiguous whatever the memory format was.
    weights = {name: value.detach().cpu().contiguous() for name, value in backbone.net.state_dict().items()}
    with whole_or_told(path, (safetensors.SafetensorError,)) as partial:
        partial.touch()  # safetensors would make a file that only its owner may read
        mode = partial.stat().st_mode
        save_file(weights, partial, metadata={"format": "pt", _HEADER: json.dumps(header)})  # format: HuggingFace asks
        partial.chmod(mode)


def load_own(path: Path, *, untrained_weights: bool = False) -> Backbone:
    """Load a file that `save_backbone` wrote.

    Args:
        path: of the file.
        untrained_weights: give the network as it was before the first step.

    Raises:
        CheckpointInvalid: cut short, or with other keys or shapes than its architecture.
    """
    with _opened(path) as stream:
        header, weights = _header(stream, path), {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - no mapping
    try:
        arch, contract = str(header["arch"]), contract_from_json(header["contract"])
        image_size, training = int(header["image_size"]), header["training"]
        seed = int(training.get("seed", 0)) if untrained_weights else 0
        options = BackboneOptions.from_json(header.get("options", {}))
        net = on_meta(arch, num_bands=contract.num_bands, image_size=image_size, options=options)
    except (AttributeError, KeyError, TypeError, ValueError, Ssl4eoError) as error:
        raise CheckpointInvalid(f"{path} has an unreadable header ({error})", path=str(path)) from error
    check_state(net.state_dict(), weights, path)
    if untrained_weights:
        return Backbone(arch, contract, image_size=image_size, seed=seed, options=options)
    return Backbone.from_weights(arch, contract, image_size=image_size, options=options, weights=weights, net=net)


def is_own(path: Path) -> bool:
    """Say whether a file has our header; of one that cannot be read its name tells."""
    try:
        with safetensors.safe_open(path, framework="pt") as stream:  # pyright: ignore[reportPrivateImportUsage] - its public name
            return _HEADER in (stream.metadata() or {})
    except (safetensors.SafetensorError, ValueError, OSError):
        return path.name == BACKBONE_FILE


def read_header(path: Path) -> dict[str, Any]:
    """Read what `save_backbone` wrote beside the weights: format, arch, image_size, contract, training.

    Raises:
        CheckpointInvalid: not a backbone of ours, or cut short.
    """
    with _opened(path) as stream:
        return _header(stream, path)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as stream:  # pyright: ignore[reportPrivateImportUsage] - its public name
            yield stream
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        if isinstance(error, CheckpointInvalid):
            raise
        raise CheckpointInvalid(
            f"{path} is no readable safetensors file ({error})",
            expected=f"a whole {BACKBONE_FILE}",
            remedy="copy it again, or make it again by resuming its run",
            path=str(path),
        ) from error


def _header(stream: Any, path: Path) -> dict[str, Any]:
    text = (stream.metadata() or {}).get(_HEADER)
    if text is None:
        raise CheckpointInvalid(
            f"{path} is a safetensors file without our header",
            expected="a backbone written by ssl4eo",
            path=str(path),
        )
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else text[:40]
        raise CheckpointInvalid(f"{path} has format {found}", expected=str(FORMAT), path=str(path))
    return header


def check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless two state dicts have the same keys and shapes and finite values, saying which do not."""
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(expected[k].shape)}"
        for k in expected.keys() & found.keys()
        if found[k].shape != expected[k].shape
    ]
    if missing or extra or other:
        parts = [
            f"{len(rows)} {what} ({', '.join(rows[:3])}{', ...' if len(rows) > 3 else ''})"
            for what, rows in (("missing", missing), ("unexpected", extra), ("of another shape", sorted(other)))
            if rows
        ]
        raise CheckpointInvalid(f"{path}: keys {'; '.join(parts)}", expected="those of the network", path=str(path))
    broken = [k for k, v in found.items() if v.is_floating_point() and not _is_finite(v)]
    if broken:
        raise CheckpointInvalid(
            f"{path}: {len(broken)} tensors hold NaN or infinity ({broken[0]})",
            expected="finite weights",
            path=str(path),
        )


def _is_finite(values: Tensor) -> bool:
    """Say whether all values are finite: one that is not shows in the sum, and a sum that is not may be an overflow."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
