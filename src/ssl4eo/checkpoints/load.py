# SPDX-License-Identifier: Apache-2.0
"""Backbones on disk: safetensors with architecture and contract in the header, and names for what has no file.

Loading is strict: every key and shape must be what the architecture has. Published checkpoints of
other projects are not read here yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.contract import contract_from_json
from ssl4eo.errors import CheckpointInvalid, DataMissing, Ssl4eoError
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


def load_backbone(
    name: str | Path, *, seed: int = 0, image_size: int | None = None, untrained_weights: bool = False
) -> Backbone:
    """Load a network by catalog name, file, or the folder of a run; in evaluation mode.

    Args:
        name: `random.<backbone>.<input>` for an untrained network, a `backbone.safetensors`, or a run's folder.
        seed: of an untrained network; a file has its own weights.
        image_size: for an untrained network [px], 224 if None; a file knows.
        untrained_weights: give the network of a file as it was before the first step.

    Raises:
        DataMissing: no such file.
        CheckpointInvalid: not a backbone of ours, cut short, or with other keys or shapes than its architecture.
        UnknownName: no such untrained network.
    """
    path = checkpoint_file(name)
    if path is None:
        return untrained(str(name), seed=seed, image_size=224 if image_size is None else image_size).eval()
    header, weights = _read(path)
    try:
        backbone = Backbone(
            str(header["arch"]),
            contract_from_json(header["contract"]),
            image_size=int(header["image_size"]),
            seed=int(header["training"].get("seed", 0)) if untrained_weights else 0,
            options=BackboneOptions.from_json(header.get("options", {})),
        )
    except (AttributeError, KeyError, TypeError, ValueError, Ssl4eoError) as error:
        raise CheckpointInvalid(f"{path} has an unreadable header ({error})", path=str(path)) from error
    check_state(backbone.net.state_dict(), weights, path)
    if not untrained_weights:
        backbone.net.load_state_dict(weights, strict=True)
    return backbone.eval()


def checkpoint_file(name: str | Path) -> Path | None:
    """Find the file that a checkpoint's name stands for; None for an untrained network.

    Raises:
        DataMissing: no such file.
    """
    text = str(name)
    if text.startswith("random."):
        return None
    path = Path(name)
    path = path / BACKBONE_FILE if path.is_dir() else path
    if not path.is_file():
        unfinished = (path.parent / "config.json").is_file()
        raise DataMissing(
            f"no checkpoint {text!r}",
            expected=f"random.<backbone>.<input>, a file, or a run folder with {BACKBONE_FILE}",
            remedy="a run writes its backbone when it ends: continue it with --resume" if unfinished else "",
            path=text,
        )
    return path


def read_header(path: Path) -> dict[str, Any]:
    """Read what `save_backbone` wrote beside the weights: format, arch, image_size, contract, training.

    Raises:
        CheckpointInvalid: not a backbone of ours, or cut short.
    """
    with _opened(path) as stream:
        return _header(stream, path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with _opened(path) as stream:
        return _header(stream, path), {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - no mapping


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
    broken = [k for k, v in found.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        raise CheckpointInvalid(
            f"{path}: {len(broken)} tensors hold NaN or infinity ({broken[0]})",
            expected="finite weights",
            path=str(path),
        )


def file_sha256(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
