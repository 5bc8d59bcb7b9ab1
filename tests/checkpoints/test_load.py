# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, check_state, read_header, save_backbone
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.contract import Contract, network_input
from ssl4eo.errors import CheckpointInvalid, ContractMismatch, DataMissing, UnknownName
from ssl4eo.files import file_sha256

TRAINING = {"recipe": "test", "seed": 4, "steps": 10}


@pytest.fixture(scope="module")
def network() -> Backbone:
    """A small network of three bands in an order of its own, as if trained."""
    backbone = Backbone("resnet18", Contract("S2L1C", ("B08", "B04", "B03"), "DN"), image_size=64, seed=1)
    backbone.train()(torch.rand(4, 3, 64, 64))  # moves the statistics of the normalization layers
    return backbone.eval()


@pytest.fixture
def file(network: Backbone, tmp_path: Path) -> Path:
    """The network in a run folder."""
    path = tmp_path / "run" / BACKBONE_FILE
    path.parent.mkdir()
    save_backbone(network, path, training=TRAINING)
    return path


def _rewrite(path: Path, *, header: dict | None = None, **tensors: torch.Tensor | None) -> None:
    """Change header fields and tensors of a file; None leaves one out."""
    weights = load_file(path) | tensors
    merged = read_header(path) | (header or {})
    save_file(
        {k: v for k, v in weights.items() if v is not None},
        path,
        metadata={"ssl4eo": json.dumps({k: v for k, v in merged.items() if v is not None})},
    )


def test_equal_backbones_are_equal_files(network: Backbone, tmp_path: Path) -> None:
    """Byte by byte, so that a checksum tells equal runs; what is in the header in UTF-8 stays."""
    told = TRAINING | {"recipe": "Übung\n\u2028"}
    for number in range(8):
        save_backbone(network, tmp_path / f"{number}.safetensors", training=told)

    assert len({file_sha256(path) for path in tmp_path.iterdir()}) == 1
    assert read_header(tmp_path / "0.safetensors")["training"] == told
    assert load_file(tmp_path / "0.safetensors").keys() == network.net.state_dict().keys()


def test_round_trip_keeps_every_bit(network: Backbone, file: Path) -> None:
    """Weights, statistics, contract and size come back; features are equal bit for bit."""
    loaded = load_backbone(file)

    before, after = network.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (loaded.arch, loaded.contract, loaded.image_size) == ("resnet18", network.contract, 64)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


def test_run_folder_stands_for_its_backbone(file: Path) -> None:
    """The folder of a run is a checkpoint's name, as text too."""
    for name in (file.parent, str(file.parent), str(file)):
        assert load_backbone(name).contract.bands == ("B08", "B04", "B03")


def test_loaded_network_is_in_evaluation_mode(file: Path) -> None:
    """Nobody's statistics move by accident."""
    assert not any(module.training for module in load_backbone(file).modules())
    assert not any(module.training for module in load_backbone("random.resnet18.s2rgb").modules())


def test_memory_format_is_not_part_of_a_file(network: Backbone, tmp_path: Path) -> None:
    """Channels-last weights are the same weights."""
    other = Backbone("resnet18", network.contract, image_size=64, seed=1).to(memory_format=torch.channels_last)
    other.load_state_dict(network.state_dict())
    save_backbone(other, tmp_path / "a.safetensors", training={})

    loaded = load_backbone(tmp_path / "a.safetensors")

    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


def test_header_tells_how_it_came_about(file: Path, network: Backbone) -> None:
    """The record of the training is kept word for word, with contract and architecture."""
    header = read_header(file)

    assert header["training"] == TRAINING
    assert header["arch"] == "resnet18"
    assert Contract.from_json(header["contract"]) == network.contract


def test_loading_draws_no_random_numbers(file: Path) -> None:
    """The global generator is where it was."""
    before = torch.get_rng_state()

    load_backbone(file)
    load_backbone("random.resnet18.s2rgb", seed=3)

    assert torch.equal(torch.get_rng_state(), before)


def test_untrained_networks_are_functions_of_their_seed() -> None:
    """One seed is one network, another seed another, whatever was drawn before."""
    first = load_backbone("random.resnet18.s1grd", seed=3).state_dict()
    torch.rand(7)
    again = load_backbone("random.resnet18.s1grd", seed=3).state_dict()
    other = load_backbone("random.resnet18.s1grd", seed=4).state_dict()

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["net.conv1.weight"], other["net.conv1.weight"])


def test_untrained_names_choose_input_and_size() -> None:
    """The last part of the name is the input; the size is 224 unless told."""
    backbone = load_backbone("random.resnet18.s2l2a")

    assert backbone.contract == network_input("S2L2A")
    assert backbone.image_size == 224
    assert load_backbone("random.resnet18.s2l2a", image_size=96).image_size == 96


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("random.resnet19.s2l1c", "did you mean resnet18"),
        ("random.resnet18.s2l1d", "did you mean s2l1c"),
        ("random.resnet18", "expected random.<backbone>.<input>"),
    ],
)
def test_untrained_names_that_are_none_are_refused(name: str, message: str) -> None:
    """Each part has its own message."""
    with pytest.raises(UnknownName, match=message):
        load_backbone(name)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A run folder without a backbone is a run that has not ended."""
    with pytest.raises(DataMissing, match="no checkpoint"):
        load_backbone(tmp_path / "absent" / "a.safetensors")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataMissing, match="continue it with --resume"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.00001, 0.5, 0.999])
def test_file_cut_short_is_refused(file: Path, kept: float) -> None:
    """Cut at the start, in the header, in the weights, just before the end."""
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])

    with pytest.raises(CheckpointInvalid, match=r"no readable safetensors file.*copy it again"):
        load_backbone(file)


def test_text_is_refused(tmp_path: Path) -> None:
    """Any other file is not mistaken for a checkpoint."""
    (tmp_path / "a.safetensors").write_text("these are not weights, " * 10)

    with pytest.raises(CheckpointInvalid, match="is no file of weights"):
        load_backbone(tmp_path / "a.safetensors")


def test_safetensors_without_our_header_needs_a_contract(network: Backbone, tmp_path: Path) -> None:
    """An encoder alone: nobody can tell which three bands it wants, in which order."""
    save_file(network.net.state_dict(), tmp_path / "a.safetensors")

    with pytest.raises(ContractMismatch, match=r"wants 3 bands and does not say which.*load_backbone\(path, contract"):
        load_backbone(tmp_path / "a.safetensors")
    contract = network_input("S2L1C", network.contract.bands)
    loaded = load_backbone(tmp_path / "a.safetensors", contract=contract)

    assert loaded.contract == contract
    assert all(torch.equal(v, loaded.net.state_dict()[k]) for k, v in network.net.state_dict().items())


def test_file_of_another_format_is_refused(file: Path) -> None:
    """A later format is not guessed at."""
    _rewrite(file, header={"format": 2})

    with pytest.raises(CheckpointInvalid, match="has format 2; expected 1"):
        load_backbone(file)


@pytest.mark.parametrize("text", ["[]", "5", "not JSON"])
def test_header_that_is_no_object_is_refused(file: Path, text: str) -> None:
    """A header that is JSON but no object, or no JSON at all."""
    save_file(load_file(file), file, metadata={"ssl4eo": text})

    with pytest.raises(CheckpointInvalid):
        load_backbone(file)


@pytest.mark.parametrize(
    "header",
    [{"arch": None}, {"arch": "resnet19"}, {"contract": None}, {"image_size": "wide"}, {"image_size": 1}],
)
def test_header_that_makes_no_network_is_refused(file: Path, header: dict) -> None:
    """Fields that are missing or wrong are told as such."""
    _rewrite(file, header=header)

    with pytest.raises(CheckpointInvalid, match="unreadable header"):
        load_backbone(file)


def test_contract_of_other_bands_than_the_weights_is_refused(file: Path) -> None:
    """A header that was changed by hand does not fit its weights."""
    _rewrite(file, header={"contract": network_input("S2L1C").to_json()})

    with pytest.raises(CheckpointInvalid, match=r"conv1.weight \(64, 3, 7, 7\) instead of \(64, 13, 7, 7\)"):
        load_backbone(file)


def test_missing_and_unexpected_weights_are_named(file: Path) -> None:
    """Loading is strict in both directions."""
    _rewrite(file, **{"conv1.weight": None, "fc.weight": torch.zeros(2, 2)})

    with pytest.raises(CheckpointInvalid, match=r"1 missing \(conv1.weight\); 1 unexpected \(fc.weight\)"):
        load_backbone(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(file: Path, value: float) -> None:
    """A diverged network is not loaded."""
    _rewrite(file, **{"bn1.weight": torch.full((64,), value)})

    with pytest.raises(CheckpointInvalid, match=r"1 tensors hold NaN or infinity \(bn1.weight\)"):
        load_backbone(file)


def test_failed_save_leaves_what_was_there(file: Path, network: Backbone) -> None:
    """A record that is no JSON stops the save; the old file stays whole and no other is left."""
    before = file.read_bytes()

    with pytest.raises(TypeError):
        save_backbone(network, file, training={"seed": object()})

    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [BACKBONE_FILE]


def test_check_state_accepts_equal_states(network: Backbone) -> None:
    """Whole numbers (counters) are no weights and need not be finite."""
    check_state(network.state_dict(), network.state_dict(), Path("a"))


def test_hash_is_sha256_of_the_bytes(file: Path) -> None:
    """As sha256sum gives it."""
    assert file_sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()
