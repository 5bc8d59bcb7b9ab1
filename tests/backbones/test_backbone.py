# SPDX-License-Identifier: Apache-2.0
import logging

import numpy as np
import pytest
import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.architectures import ARCHITECTURES, on_meta
from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.contract import Contract, announce, network_input, plan_remap, stored
from ssl4eo.errors import ConfigInvalid, ContractMismatch, SampleInvalid, UnknownName
from ssl4eo.sample import Image


@pytest.fixture(scope="module")
def network() -> Backbone:
    """An untrained 13-band network for 32 x 32 px."""
    return Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).eval()


def _values(count: int = 2, *, bands: int = 13, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 12_000, (count, bands, size, size), dtype=np.uint16)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "vit_nano_8", "vit_small_16"])
def test_every_architecture_gives_its_features_for_any_number_of_bands(arch: str) -> None:
    """(B, C, H, W) -> (B, D), with D as announced."""
    for modality in ("S1GRD", "S2L1C"):
        contract = network_input(modality)
        backbone = Backbone(arch, contract, image_size=32, seed=0).eval()
        with torch.no_grad():
            features = backbone(torch.rand(2, contract.num_bands, 32, 32))
        assert features.shape == (2, backbone.num_features)
        assert torch.isfinite(features).all()


def test_published_widths() -> None:
    """Of He et al. 2016 and of Dosovitskiy et al. 2021, table 1 (and Touvron et al. 2021 for Ti and S)."""
    widths = {arch: on_meta(arch, num_bands=3).num_features for arch in ARCHITECTURES if "nano" not in arch}

    assert widths == {
        "resnet18": 512,
        "resnet34": 512,
        "resnet50": 2048,
        "resnet101": 2048,
        "resnet152": 2048,
        "vit_tiny_16": 192,
        "vit_small_16": 384,
        "vit_base_16": 768,
        "vit_large_16": 1024,
        "vit_huge_14": 1280,
    }


# Parameters of the published encoders with 13 and 2 bands, the fixed positions counted.
@pytest.mark.parametrize(
    ("arch", "num_bands", "expected"),
    [
        ("resnet50", 13, 23_539_392),
        ("resnet50", 3, 23_508_032),
        ("resnet50", 2, 23_504_896),
        ("resnet18", 13, 11_207_872),
        ("resnet18", 3, 11_176_512),
        ("vit_small_16", 13, 22_648_704),
        ("vit_small_16", 2, 21_567_360),
        ("vit_base_16", 13, 87_764_736),
        ("vit_base_16", 2, 85_602_048),
        ("vit_large_16", 13, 305_923_072),
        ("vit_large_16", 2, 303_039_488),
        ("vit_huge_14", 13, 633_273_600),
        ("vit_huge_14", 2, 630_513_920),
    ],
)
def test_parameter_counts_are_those_of_the_published_encoders(arch: str, num_bands: int, expected: int) -> None:
    """Built on the meta device, without memory for the weights."""
    network = on_meta(arch, num_bands=num_bands)

    assert sum(p.numel() for p in network.parameters()) == expected
    assert all(p.is_meta for p in network.parameters())


def test_order_of_the_batch_permutes_the_features(network: Backbone) -> None:
    """Images do not see each other in evaluation mode."""
    values, contract = _values(4), stored("S2L1C")

    features, reversed_ = network.embed(values, contract), network.embed(values[::-1].copy(), contract)

    torch.testing.assert_close(features.flip(0), reversed_, rtol=1e-4, atol=1e-6)


def test_embed_scales_as_the_contract_says(network: Backbone) -> None:
    """DN / 10000, clipped to 0..1, worked here."""
    values = _values()
    scaled = torch.from_numpy((values / 10_000).clip(0, 1).astype(np.float32))

    with torch.no_grad():
        expected = network(scaled)

    torch.testing.assert_close(network.embed(values, stored("S2L1C")), expected, rtol=1e-4, atol=1e-6)


def test_embed_takes_the_offset_of_new_baselines_away(network: Backbone) -> None:
    """+1000 DN in the values and in the contract is the same light."""
    values = _values() // 2

    old, new = (network.embed(values + o, stored("S2L1C", offset=o)) for o in (0, 1000))

    torch.testing.assert_close(old, new, rtol=1e-4, atol=1e-6)


def test_embed_puts_bands_in_order(network: Backbone) -> None:
    """Bands in another order with a contract that says so give the same features."""
    values, order = _values(), list(reversed(range(13)))
    bands = [stored("S2L1C").bands[i] for i in order]

    features = network.embed(values, stored("S2L1C"))
    reordered = network.embed(values[:, order].copy(), stored("S2L1C", bands=bands))

    torch.testing.assert_close(features, reordered, rtol=1e-4, atol=1e-6)


def test_embed_resizes_to_the_networks_size(network: Backbone) -> None:
    """An image of one value is the same at any size."""
    small, large = (np.full((1, 13, s, s), 3000, np.uint16) for s in (32, 60))

    features = [network.embed(v, stored("S2L1C")) for v in (small, large)]

    torch.testing.assert_close(*features, rtol=1e-4, atol=1e-6)


def test_embed_of_an_image_is_one_row(network: Backbone) -> None:
    """An Image knows its contract; its bands are brought to 10 m."""
    groups = {10: (4, 36, 36), 20: (6, 18, 18), 60: (3, 6, 6)}
    image = Image("S2L1C", {r: np.full(s, 2500, np.uint16) for r, s in groups.items()})

    features = network.embed(image)

    expected = network.embed(np.full((1, 13, 36, 36), 2500, np.uint16), stored("S2L1C"))[0]
    assert features.shape == (512,)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-6)


def test_embed_leaves_the_network_as_it_was() -> None:
    """Mode, statistics and gradients do not move."""
    backbone = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).train()
    state = {name: value.clone() for name, value in backbone.state_dict().items()}

    features = backbone.embed(_values(), stored("S2L1C"))

    assert backbone.training
    assert not features.requires_grad
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("values", "contract", "message"),
    [
        (_values(), None, r"without a contract.*say what the values mean"),
        (_values(), stored("S2L2A"), "has 13 bands; expected 12"),
        (_values(bands=2), stored("S1GRD"), "S1GRD cannot stand for S2L1C"),
        (_values()[0], stored("S2L1C"), r"expected \(batch, band, y, x\)"),
        (_values(bands=3), stored("S2L1C", bands=["B04", "B03", "B02"]), "values have no B01"),
        (_values().astype(np.complex64), stored("S2L1C"), "complex64; expected real numbers"),
    ],
)
def test_embed_refuses_what_it_cannot_convert(
    network: Backbone, values: np.ndarray, contract: Contract | None, message: str
) -> None:
    """Silent input mismatch is the one thing that must not happen."""
    with pytest.raises(ContractMismatch, match=message):
        network.embed(values, contract)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embed_refuses_what_is_not_finite(network: Backbone, value: float) -> None:
    """A feature of NaN would be told much later, if at all; the image is named. A clip must not hide an infinity."""
    values = _values(3).astype(np.float32)
    values[1, 4, 2, 3] = value

    with pytest.raises(SampleInvalid, match="image 1 of 3 has values that are not finite"):
        network.embed(values, stored("S2L1C"))


def test_embed_of_level_2_logs_what_it_does(network: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    """L2A values in an L1C network are converted, and said to be."""
    announce.cache_clear()
    with caplog.at_level(logging.INFO):
        network.embed(_values(bands=12), stored("S2L2A"))

    assert "read L2A values as L1C" in caplog.text
    assert "insert zeros for B10 at channel 10" in caplog.text


def test_weights_are_a_function_of_the_seed() -> None:
    """One seed one network; building one does not move the global generator."""
    before = torch.get_rng_state()

    first, again, other = (untrained("random.resnet18.s1grd", seed=s) for s in (1, 1, 2))

    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    assert not torch.equal(first.net.conv1.weight, other.net.conv1.weight)


def test_unknown_architecture_and_small_images_are_refused() -> None:
    """Names have suggestions; a network that halves 5 times needs 32 px."""
    with pytest.raises(UnknownName, match="did you mean resnet50"):
        Backbone("resnet5o", network_input("S2RGB"), image_size=32, seed=0)
    with pytest.raises(ConfigInvalid, match="image_size is 31"):
        Backbone("resnet18", network_input("S2RGB"), image_size=31, seed=0)


CONVERSIONS = [
    (stored("S2L1C"), network_input("S2L1C")),
    (stored("S2L1C", offset=1000), network_input("S2L1C")),
    (stored("S2L2A"), network_input("S2L1C")),
    (stored("S2L1C"), network_input("S2L1C", ["B8A", "B02", "B10"])),
    (stored("S1GRD"), network_input("S1GRD")),
    (stored("S2RGB"), network_input("S2RGB")),
    (stored("S2L1C", offset=1000), stored("S2L1C")),
]


@pytest.mark.parametrize(("source", "target"), CONVERSIONS, ids=str)
def test_adapter_equals_the_numpy_remap(source: Contract, target: Contract) -> None:
    """The layer does in float32 what the contract's own conversion does in float64."""
    rng = np.random.default_rng(0)
    shape = (2, source.num_bands, 5, 4)
    values = {
        "DN": rng.integers(0, 65_536, shape, dtype=np.uint16),
        "uint8": rng.integers(0, 256, shape, dtype=np.uint8),
        "dB": rng.normal(-15, 8, shape).astype(np.float32),
    }[source.unit]

    converted = Adapter(source, target)(torch.from_numpy(values))

    assert converted.dtype == torch.float32
    np.testing.assert_allclose(converted.numpy(), plan_remap(source, target)(values), rtol=1e-5, atol=1e-6)


def test_adapter_leaves_its_input_alone() -> None:
    """Clipping happens on a copy, for float input too."""
    values = torch.full((1, 2, 3, 3), 40.0)

    Adapter(stored("S1GRD"), network_input("S1GRD"))(values)

    assert torch.equal(values, torch.full((1, 2, 3, 3), 40.0))


def test_adapter_refuses_other_band_counts_and_instruments() -> None:
    """At construction where contracts do not fit, at use where values do not."""
    with pytest.raises(ContractMismatch, match="S1GRD cannot stand for S2L1C"):
        Adapter(stored("S1GRD"), network_input("S2L1C"))
    with pytest.raises(ContractMismatch, match="has 12 bands; expected 13"):
        Adapter(stored("S2L1C"), network_input("S2L1C"))(torch.zeros(1, 12, 2, 2))


def test_adapter_has_nothing_to_save() -> None:
    """Gains belong to the contract, not to a checkpoint."""
    assert not Adapter(stored("S2L1C"), network_input("S2L1C")).state_dict()
