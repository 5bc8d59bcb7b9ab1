# SPDX-License-Identifier: Apache-2.0
"""Values of weights: other precisions are cast and said, other kinds of numbers are refused."""

from __future__ import annotations

import logging

import pytest
import safetensors
import torch
from published_files import encoder
from safetensors.torch import load_file, save_file

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid


def state(**changed):
    """Give the weights of a residual network, some of them changed."""
    return encoder("resnet18", 13).state_dict() | changed


def write(path, weights, *, own):
    """Write a file of somebody else, or one of ours."""
    if not own:
        torch.save(weights, path)
        return
    network = Backbone("resnet18", network_input("S2L1C"), image_size=64, seed=0)
    save_backbone(network, path, training={})
    with safetensors.safe_open(path, framework="pt") as stream:
        header = stream.metadata()
    assert load_file(path).keys() == weights.keys()
    save_file({name: value.contiguous() for name, value in weights.items()}, path, metadata=header)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_and_said_once(dtype, own, tmp_path, caplog):
    """Features come out; values are those of the file; 100 of 120 tensors, for counters of batches stay whole."""
    weights = {name: v.to(dtype) if v.is_floating_point() else v for name, v in state().items()}
    write(tmp_path / "a.bin", weights, own=own)

    with caplog.at_level(logging.INFO, logger="ssl4eo.checkpoints.values"):
        loaded = load_backbone(tmp_path / "a.bin")

    with torch.no_grad():
        assert loaded(torch.rand(1, 13, 64, 64)).dtype == torch.float32
    assert all(torch.equal(value.float(), loaded.net.state_dict()[n].float()) for n, value in weights.items())
    (line,) = [r.getMessage() for r in caplog.records if r.name == "ssl4eo.checkpoints.values"]
    assert f"100 of {str(dtype).removeprefix('torch.')} among 120 tensors" in line


def test_counters_that_were_cast_with_the_weights_are_whole_again(tmp_path):
    """`{k: v.half()}` of a whole state."""
    torch.save({k: v.half() for k, v in state(**{"bn1.num_batches_tracked": torch.tensor(40)}).items()}, tmp_path / "a")

    counter = load_backbone(tmp_path / "a").net.state_dict()["bn1.num_batches_tracked"]

    assert (counter.dtype, int(counter)) == (torch.int64, 40)


BROKEN = [
    (torch.zeros(64, dtype=torch.complex64), "bn1.weight is complex64"),
    (torch.ones(64, dtype=torch.int8), "bn1.weight is int8"),
    (torch.ones(64, dtype=torch.int64), "bn1.weight is int64"),
    (torch.ones(64, dtype=torch.bool), "bn1.weight is bool"),
    (torch.ones(64).to(torch.float8_e4m3fn), "bn1.weight is float8_e4m3fn"),
    (torch.ones(64, device="meta"), "bn1.weight has no values"),
    (torch.ones(64).to_sparse(), "bn1.weight is sparse_coo"),
]


@pytest.mark.parametrize(("value", "words"), BROKEN)
def test_other_kinds_of_numbers_are_refused_and_seen_by_looking(value, words, tmp_path):
    """By the name of the tensor, with what to do."""
    torch.save(state(**{"bn1.weight": value}), tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=f"1 tensors are no weights .{words}.*expected numbers of float32"):
        load_backbone(tmp_path / "a.pth")
    assert words in inspect(tmp_path / "a.pth").obstacles[0]


@pytest.mark.parametrize("own", [False, True])
def test_whole_files_of_eight_bits_and_of_the_meta_device_are_refused(own, tmp_path):
    """Also in a file of ours; the first layer of such a file is not drawn."""
    write(tmp_path / "a.bin", {n: v.to(torch.int8) for n, v in state().items()}, own=own)
    found = inspect(tmp_path / "a.bin")
    assert "100 tensors are no weights" in found.obstacles[0]
    assert found.first_layer is None

    torch.save({n: v.to("meta") for n, v in state().items()}, tmp_path / "b.pth")
    assert "120 tensors are no weights" in inspect(tmp_path / "b.pth").obstacles[0]


@pytest.mark.parametrize("own", [False, True])
def test_negative_variances_are_refused(own, tmp_path):
    """Batch norm would give NaN without a word; a variance of 0 is one."""
    variances = torch.ones(64)
    variances[[3, 5]] = torch.tensor([-0.5, 0.0])
    write(tmp_path / "a.bin", state(**{"bn1.running_var": variances}), own=own)

    with pytest.raises(CheckpointInvalid, match=r"1 running variances are negative \(bn1\.running_var\)"):
        load_backbone(tmp_path / "a.bin")
    variances[3] = 0
    write(tmp_path / "a.bin", state(**{"bn1.running_var": variances}), own=own)
    assert load_backbone(tmp_path / "a.bin").net.state_dict()["bn1.running_var"][3] == 0


def test_float64_that_float32_cannot_hold_is_refused(tmp_path):
    """It would be infinity."""
    torch.save(state(**{"bn1.weight": torch.full((64,), 1e300, dtype=torch.float64)}), tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"NaN or infinity \(bn1\.weight\)"):
        load_backbone(tmp_path / "a.pth")
