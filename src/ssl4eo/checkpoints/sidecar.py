# SPDX-License-Identifier: Apache-2.0
"""The record beside a file of weights, FILE.json: what a state dict cannot say of itself.

Our exports write one; whoever has a file of others can write one by hand, of which only the contract is needed:

    {"contract": {"modality": "S2L1C", "bands": ["B04", "B03", "B02"], "unit": "DN", "offset": 0,
                  "scaling": "reflectance"}}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssl4eo.backbones.architectures import ARCHITECTURES, BackboneOptions, Pooling, on_meta
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import check_state
from ssl4eo.checkpoints.reading import read_container
from ssl4eo.contract import InputContract, contract_from_json
from ssl4eo.errors import CheckpointInvalid, ContractMismatch, Ssl4eoError
from ssl4eo.files import file_sha256

log = logging.getLogger(__name__)

FOLDER_WEIGHTS, FOLDER_RECORD = "model.safetensors", "contract.json"
"""Of a folder for HuggingFace: weights, and the record of them."""


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

    def changed(self, *, contract: InputContract | None, pooling: Pooling | None) -> Sidecar:
        """Give a whole record with another input or another way to a feature; None leaves it as it is.

        Raises:
            ContractMismatch: an input of another number of bands than the weights have.
        """
        assert self.options is not None, "a whole record"
        contract = contract or self.contract
        if contract.num_bands != self.contract.num_bands:
            raise ContractMismatch(
                f"{self.path} tells of {self.contract.num_bands} bands",
                expected=f"the {contract.num_bands} of {contract}",
                remedy="give a contract of as many; backbones.adapt changes the bands of a loaded network",
            )
        options = self.options if pooling is None else replace(self.options, pooling=pooling)
        return replace(self, contract=contract, options=options)


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
    path = next((path for path in (beside(weights), *_of_folder(weights)) if path.is_file()), None)
    if path is None:
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(path, f"cannot be read ({error})", "a record of the weights beside it, in JSON") from error
    if not isinstance(record, dict) or "contract" not in record:
        log.warning("%s has no contract: it is no record of %s and is passed over", path, weights.name)
        return None
    if "sha256" in record and record["sha256"] != file_sha256(weights):
        raise _refused(
            path, f"is of another file than {weights.name}: its sha256 differs", f"the record of {weights.name}"
        )
    return _parse(path, record)


def _of_folder(weights: Path) -> tuple[Path, ...]:
    """Name the record of a folder for HuggingFace."""
    return (weights.with_name(FOLDER_RECORD),) if weights.name == FOLDER_WEIGHTS else ()


def _parse(path: Path, record: Mapping[str, Any]) -> Sidecar:
    size, arch, options, training = (record.get(name) for name in ("image_size", "arch", "options", "training"))
    wrong = [
        f"{name} {value!r}"
        for name, value, fits in (
            ("contract", record["contract"], isinstance(record["contract"], dict)),
            ("image_size", size, size is None or (isinstance(size, int) and size > 0 and not isinstance(size, bool))),
            ("arch", arch, arch is None or arch in ARCHITECTURES),
            ("options", options, options is None or isinstance(options, dict)),
            ("training", training, training is None or isinstance(training, dict)),
        )
        if not fits
    ]
    if wrong:
        raise _refused(path, f"has {', '.join(wrong)[:200]}", "what the record of an export has there")
    try:
        contract = contract_from_json(record["contract"])
        known = None if options is None else BackboneOptions.from_json(options)
    except (AttributeError, KeyError, TypeError, ValueError, Ssl4eoError) as error:
        raise _refused(path, f"cannot be read ({error})", "a contract and options as an export has them") from error
    if contract.to_json().keys() < record["contract"].keys():
        more = ", ".join(sorted(record["contract"].keys() - contract.to_json().keys()))
        raise _refused(path, f"has a contract with {more}", f"{', '.join(contract.to_json())}")
    return Sidecar(path, contract, arch, size, known, dict(training or {}))


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
