# SPDX-License-Identifier: Apache-2.0
"""The record beside a file of weights, FILE.json: what a state dict cannot say of itself.

Our exports write one; whoever has a file of others can write one by hand, of which only the contract is needed:

    {"contract": {"modality": "S2L1C", "bands": ["B04", "B03", "B02"], "unit": "DN", "offset": 0,
                  "scaling": "reflectance"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.backbones.architectures import BackboneOptions, on_meta
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import check_state
from ssl4eo.checkpoints.reading import read_container
from ssl4eo.contract import InputContract, contract_from_json
from ssl4eo.errors import CheckpointInvalid, Ssl4eoError
from ssl4eo.files import file_sha256


@dataclass(frozen=True)
class Sidecar:
    """What a record tells of the weights beside it."""

    path: Path
    contract: InputContract
    arch: str | None
    image_size: int | None
    options: BackboneOptions | None
    training: Mapping[str, Any]
    """How the weights came about; empty if the record does not say."""

    @property
    def is_whole(self) -> bool:
        """Whether it says all that builds the network, as the record of a flat export does."""
        return None not in (self.arch, self.image_size, self.options)


def beside(weights: Path) -> Path:
    """Name the record of a file."""
    return weights.with_name(f"{weights.name}.json")


def read_sidecar(weights: Path) -> Sidecar | None:
    """Read the record beside a file of weights; None if there is none, or none of an input.

    Args:
        weights: the file; its record is checked to be its own where it has a SHA-256.

    Raises:
        CheckpointInvalid: the record cannot be read, or is of another file.
    """
    path = beside(weights)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(path, f"cannot be read ({error})", "a record of the weights beside it, in JSON") from error
    if not isinstance(record, dict) or "contract" not in record:
        return None
    if "sha256" in record and record["sha256"] != file_sha256(weights):
        raise _refused(
            path, f"is of another file than {weights.name}: its sha256 differs", f"the record of {weights.name}"
        )
    try:
        options = record.get("options")
        size = record.get("image_size")
        return Sidecar(
            path,
            contract_from_json(record["contract"]),
            None if "arch" not in record else str(record["arch"]),
            None if size is None else int(size),
            None if options is None else BackboneOptions.from_json(options),
            dict(record.get("training") or {}),
        )
    except (AttributeError, KeyError, TypeError, ValueError, Ssl4eoError) as error:
        raise _refused(
            path, f"cannot be read ({error})", "contract, image_size and options as an export has"
        ) from error


def load_recorded(weights: Path, record: Sidecar) -> Backbone:
    """Load a flat state dict as its whole record says.

    Raises:
        CheckpointInvalid: the file cannot be read, or its keys, shapes or values are not the network's.
    """
    assert record.arch is not None, "a whole record"
    assert record.image_size is not None, "a whole record"
    assert record.options is not None, "a whole record"
    state = read_container(weights)
    net = on_meta(
        record.arch, num_bands=record.contract.num_bands, image_size=record.image_size, options=record.options
    )
    state = check_state(net.state_dict(), state, weights)
    return Backbone.from_weights(
        record.arch, record.contract, image_size=record.image_size, options=record.options, weights=state, net=net
    )


def _refused(path: Path, found: str, expected: str) -> CheckpointInvalid:
    return CheckpointInvalid(
        f"{path} {found}",
        expected=expected,
        remedy="mend it, or remove it and give a contract to load the file without",
        path=str(path),
    )
