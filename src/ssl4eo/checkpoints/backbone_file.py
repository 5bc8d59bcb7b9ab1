# SPDX-License-Identifier: Apache-2.0
"""Our own file of a backbone: safetensors with architecture, options, contract and training record in the header."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor, nn

from ssl4eo.backbones.architectures import BackboneOptions, on_meta
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.own import require_built_by_name
from ssl4eo.checkpoints.formats import START, cut_from_safetensors
from ssl4eo.checkpoints.reading import refuse_notice
from ssl4eo.checkpoints.values import check_values, in_types_of
from ssl4eo.contract import InputContract, contract_from_json
from ssl4eo.errors import CheckpointInvalid, Ssl4eoError
from ssl4eo.files import whole_or_told

FORMAT = 1
BACKBONE_FILE = "backbone.safetensors"
_HEADER = "ssl4eo"
_LENGTH = 8
"""Bytes at the start of a safetensors file that tell how long its header is."""


def save_backbone(backbone: Backbone, path: Path | str, *, training: Mapping[str, Any]) -> None:
    """Write a backbone atomically.

    Args:
        backbone: what to keep.
        path: `*.safetensors`.
        training: plain values that say how it came about: recipe, seed, steps, commit.

    Raises:
        ConfigInvalid: a module of one's own: a file tells by a name how the network is built.
        WriteFailed: it cannot be written.
    """
    require_built_by_name(
        backbone,
        "a file of",
        remedy="keep module.state_dict() with torch.save, and name a function that loads it: FILE.py:NAME",
    )
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
    with whole_or_told(Path(path), (safetensors.SafetensorError,)) as partial:
        partial.touch()  # safetensors would make a file that only its owner may read
        mode = partial.stat().st_mode
        save_file(weights, partial, metadata={"format": "pt", _HEADER: json.dumps(header)})  # format: HuggingFace asks
        partial.chmod(mode)
        _settle_order(partial)


def _settle_order(path: Path) -> None:
    """Sort the notes in the header: safetensors writes them in any order, and equal runs would leave other bytes."""
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(_LENGTH), "little")
        header = json.loads(stream.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        settled = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(settled) <= size, "the same words take the same room"
        stream.seek(_LENGTH)
        stream.write(settled.ljust(size))


@dataclass(frozen=True)
class Own:
    """A file of ours, read and not yet judged."""

    path: Path
    arch: str
    contract: InputContract
    image_size: int
    """[px]."""
    options: BackboneOptions
    training: Mapping[str, Any]
    """How it came about; empty where the file does not say."""
    weights: Mapping[str, Tensor]
    net: nn.Module
    """The network on the meta device."""

    def usable_weights(self) -> dict[str, Tensor]:
        """Give the weights in the network's types.

        Raises:
            CheckpointInvalid: see `check_state`.
        """
        return check_state(self.net.state_dict(), self.weights, self.path)


def read_own(path: Path) -> Own:
    """Read a file that `save_backbone` wrote.

    Raises:
        CheckpointInvalid: cut short, or with a header that makes no network.
    """
    with _opened(path) as stream:
        header, weights = _header(stream, path), {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - no mapping
    training = header.get("training")
    try:
        arch, contract = str(header["arch"]), contract_from_json(header["contract"])
        image_size = int(header["image_size"])
        options = BackboneOptions.from_json(header.get("options", {}))
        net = on_meta(arch, num_bands=contract.num_bands, image_size=image_size, options=options)
    except KeyError as error:
        raise _unreadable(path, f"no {error.args[0]}") from error
    except (AttributeError, TypeError, ValueError, Ssl4eoError) as error:
        raise _unreadable(path, str(error)) from error
    return Own(path, arch, contract, image_size, options, training if isinstance(training, dict) else {}, weights, net)


def load_own(path: Path, *, untrained_weights: bool = False) -> Backbone:
    """Load a file that `save_backbone` wrote.

    Args:
        path: of the file.
        untrained_weights: give the network as it was before the first step.

    Raises:
        CheckpointInvalid: cut short, with other keys, shapes or types than its architecture, with values that no
            network has; or without the seed that untrained weights are drawn from.
    """
    own = read_own(path)
    weights = own.usable_weights()
    if untrained_weights:
        seed = own.training.get("seed")
        if not isinstance(seed, int):
            raise CheckpointInvalid(
                f"{path} does not say the seed of its run",
                expected="training with a seed in its header",
                remedy="name an untrained network, such as random.resnet50.s2l1c",
                path=str(path),
            )
        return Backbone(own.arch, own.contract, image_size=own.image_size, seed=seed, options=own.options)
    return Backbone.from_weights(
        own.arch, own.contract, image_size=own.image_size, options=own.options, weights=weights, net=own.net
    )


def _unreadable(path: Path, why: str) -> CheckpointInvalid:
    return CheckpointInvalid(
        f"{path} has an unreadable header ({why})",
        expected="architecture, contract and image size as `save_backbone` writes them",
        remedy="copy it again, or make it again by resuming its run",
        path=str(path),
    )


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
        start, cut = _look(path)
        refuse_notice(path, start)
        raise CheckpointInvalid(
            f"{path} is no readable safetensors file ({f'cut short: {cut}' if cut else error})",
            expected=f"a whole {BACKBONE_FILE}",
            remedy="copy it again, or make it again by resuming its run",
            path=str(path),
        ) from error


def _look(path: Path) -> tuple[bytes, str]:
    """Give the first bytes of a file, and what is missing at its end; nothing of one that cannot be opened."""
    try:
        with path.open("rb") as stream:
            return stream.read(START), cut_from_safetensors(path)
    except OSError:
        return b"", ""


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


def check_state(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give the tensors of a file in the types of a network's.

    Args:
        expected: state of the network, on any device.
        found: in the file.
        path: of the file, for the message.

    Raises:
        CheckpointInvalid: other keys or shapes, values of another kind, that are not finite, or variances below zero.
    """
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
    weights = in_types_of(expected, found, path)
    check_values(weights, path)
    return weights
