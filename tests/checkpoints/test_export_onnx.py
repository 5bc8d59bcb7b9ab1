# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph: from values as stored to the features that `embed` gives, for any batch."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from export_networks import TRAINING, kept, looks_trained, small

from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.export.onnx import LARGEST, FromStored, require_onnx
from ssl4eo.checkpoints.export.source import raw_contract
from ssl4eo.contract import Contract, contract_from_json
from ssl4eo.errors import ConfigInvalid, TargetExists

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def values(contract, batch: int, size: int) -> np.ndarray:
    """Draw values as stored that reach over both ends of every clip."""
    rng = np.random.default_rng(batch)
    ranges = {"DN": (0, 14_000), "dB": (-40, 5), "uint8": (0, 256)}
    parts = [rng.uniform(*ranges[p.unit], (batch, p.num_bands, size, size)) for p in contract.parts]
    return np.concatenate(parts, axis=1).astype(np.float32)


CASES = [
    ("resnet", "S2L1C"),
    pytest.param(("cls", "S2RGB"), marks=pytest.mark.slow),
    ("mean", "S2L1C+S1GRD"),
    ("relative", "S1GRD"),
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def exported(request, tmp_path_factory):
    """A network and its file: tracing takes seconds, so each is exported once."""
    backbone = small(*request.param)
    folder = tmp_path_factory.mktemp("onnx")
    run, generator = kept(backbone, folder / "run"), torch.get_rng_state()
    export(run, "onnx", folder / "a.onnx")
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), generator)
    return backbone, folder / "a.onnx"


def test_onnxruntime_agrees_with_embed(exported) -> None:
    """Within 1e-4 of the largest feature, from stored values, for batches of 1 and 3."""
    backbone, path = exported
    session = onnxruntime.InferenceSession(path)

    for batch in (1, 3):
        stored = values(backbone.contract, batch, backbone.image_size)
        (found,) = session.run(None, {"values": stored})
        expected = backbone.embed(stored, raw_contract(backbone.contract)).numpy()
        assert expected.std() > 0.01
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


def test_graph_tells_its_input(exported) -> None:
    """Contract, size and training are in the file; shapes are fixed but for the batch."""
    backbone, path = exported

    graph = onnx.load(path)

    onnx.checker.check_model(graph)
    facts = {prop.key: prop.value for prop in graph.metadata_props}
    assert contract_from_json(json.loads(facts["ssl4eo.input_contract"])) == raw_contract(backbone.contract)
    assert contract_from_json(json.loads(facts["ssl4eo.contract"])) == backbone.contract
    assert json.loads(facts["ssl4eo.training"]) == TRAINING
    (entry,) = graph.graph.input
    axes = entry.type.tensor_type.shape.dim
    sizes = [backbone.contract.num_bands, backbone.image_size, backbone.image_size]
    assert [axis.dim_param or axis.dim_value for axis in axes][1:] == sizes
    assert axes[0].dim_param


def test_networks_of_8_bit_forms_are_fed_their_form() -> None:
    """Such values are stored as the network takes them: nothing is to be scaled."""
    contract = Contract("S2L1C", ("B04", "B03"), "DN", scaling="uint8_10k")
    backbone = looks_trained("vit_nano_8", contract, image_size=32)
    stored = torch.randint(0, 256, (2, 2, 32, 32)).float()

    with torch.no_grad():
        found = FromStored(backbone).eval()(stored)

    assert raw_contract(contract) == contract
    assert torch.equal(found, backbone.embed(stored, contract))


def test_missing_package_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else real(name))

    with pytest.raises(ConfigInvalid, match=r"without the package onnxscript.*pip install 'ssl4eo\[onnx\]'"):
        export("random.resnet18.s2rgb", "onnx", tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_network_too_large_for_one_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf ends at 2 GiB."""
    require_onnx()
    monkeypatch.setattr("ssl4eo.checkpoints.export.onnx.LARGEST", 1_000_000)

    with pytest.raises(ConfigInvalid, match=r"vit_nano_8 has 0.0 GB of weights.*--form timm"):
        export(kept(small("cls"), tmp_path / "run"), "onnx", tmp_path / "a.onnx")
    assert LARGEST < 2**31


def test_file_that_is_there_stays(tmp_path: Path) -> None:
    """Refused before the network is traced."""
    (tmp_path / "a.onnx").write_text("mine")

    with pytest.raises(TargetExists):
        export("random.resnet18.s2rgb", "onnx", tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_text() == "mine"
