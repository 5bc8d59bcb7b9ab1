# SPDX-License-Identifier: Apache-2.0
"""What `embed` is fed: other layouts of the same numbers work, what has no one meaning is refused with a remedy."""

from __future__ import annotations

import collections
import dataclasses
import logging
import re

import numpy as np
import pytest
import torch

import ssl4eo.backbones.adapt
from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.contract import FusedContract, doubts, network_input, stored
from ssl4eo.errors import ContractMismatch, SampleInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Image

L1C, S1 = stored("S2L1C"), stored("S1GRD")
FUSED = FusedContract((L1C, S1))


@pytest.fixture(scope="module")
def network() -> Backbone:
    """An untrained 13-band network for 32 x 32 px."""
    return Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).eval()


@pytest.fixture(scope="module")
def fused() -> Backbone:
    """One of 13 optical and 2 radar bands."""
    return untrained("random.resnet18.s2l1c_s1grd", image_size=32).eval()


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Let every test be the first in its process."""
    monkeypatch.setattr(doubts, "_told", set())
    monkeypatch.setattr(doubts, "_times", collections.Counter())


def values(count: int = 2, *, bands: int = 13, high: int = 12_000) -> np.ndarray:
    """Draw digital numbers."""
    return np.random.default_rng(0).integers(1, high, (count, bands, 32, 32), dtype=np.uint16)


def optical(**changes: object) -> Image:
    """Make an image of 13 bands."""
    groups = {10: (4, 36, 36), 20: (6, 18, 18), 60: (3, 6, 6)}
    rng = np.random.default_rng(1)
    pixels = {r: rng.integers(1, 9000, shape, dtype=np.uint16) for r, shape in groups.items()}
    return dataclasses.replace(Image("S2L1C", pixels), **changes)


def radar() -> Image:
    """Make an image of two bands."""
    return Image("S1GRD", {10: np.random.default_rng(2).normal(-14, 4, (2, 36, 36)).astype(np.float32)})


def read_only(array):
    """Give a view that cannot be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    """Give a view whose steps are no multiple of the size of a number."""
    rows = np.zeros(array.shape, np.dtype([("flag", "u1"), ("value", "u2")]))
    rows["value"] = array
    return rows["value"]


@pytest.mark.parametrize(
    "layout",
    [
        lambda a: a[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
        lambda a: a[:, ::-1].copy()[:, ::-1],
        lambda a: a.astype(">u2"),
        lambda a: a.astype(">f4"),
        lambda a: a.astype(">i8")[::1],
        np.asfortranarray,
        read_only,
        unaligned,
        lambda a: a.astype(np.uint32),
        lambda a: a.astype(np.uint64),
        lambda a: a.astype(np.float64),
        lambda a: a.astype(np.longdouble),
        torch.from_numpy,
        lambda a: torch.from_numpy(a).float().requires_grad_(),
        lambda a: torch.from_numpy(a).to(memory_format=torch.channels_last),
        lambda a: torch.from_numpy(a.astype(np.int16)).mT.contiguous().mT,
    ],
)
def test_other_layouts_of_the_same_numbers_give_the_same_features(network: Backbone, layout) -> None:
    """Mirrored views, other byte order, memory that is read-only, any type."""
    batch = values()
    expected = network.embed(batch, L1C)
    fed = layout(batch)

    features = network.embed(fed, L1C)

    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-6)
    assert not features.requires_grad


def test_values_go_to_the_device_of_the_network() -> None:
    """The meta device stands for a second one here: it computes shapes only."""
    away = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=None).eval()

    for batch in (values(), torch.from_numpy(values())):
        features = away.embed(batch, L1C)
        assert (features.device.type, features.shape) == ("meta", (2, 512))


def test_networks_of_other_precision_are_fed_in_it() -> None:
    """Float64 weights give the features of float32."""
    exact = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).eval()
    expected = exact.embed(values(), L1C)

    features = exact.double().embed(values(), L1C)

    assert features.dtype == torch.float64
    torch.testing.assert_close(features.float(), expected, rtol=1e-3, atol=1e-5)


NESTED = torch.nested.nested_tensor([torch.ones(13, 32, 32), torch.ones(5, 32, 32)], layout=torch.jagged)


@pytest.mark.parametrize(
    ("fed", "words"),
    [
        (None, "a NoneType to embed; expected an Image"),
        ([values()], "a list to embed; .*np.stack"),
        ("a.tif", "a str to embed"),
        (np.float32(3), "a float32 to embed"),
        (values().astype(object), "an array of object; expected real numbers"),
        (values().astype(str), "an array of <U5; expected real numbers"),
        (values() > 5, "an array of bool; expected real numbers"),
        (values().astype("M8[s]"), "datetime64.*expected real numbers"),
        (values().astype(np.complex128), "complex128; expected real numbers: give its amplitude"),
        (np.ma.masked_less(values(), 100), r"a masked array; .*values\.filled\(0\)"),
        (np.ma.masked_array(values()), r"a masked array; .*values\.filled\(0\)"),
        (torch.from_numpy(values()).float().to_sparse(), r"layout sparse_coo; .*\.to_dense\(\)"),
        (NESTED, r"nested; .*to_padded_tensor"),
        (torch.empty(2, 13, 32, 32, device="meta"), "on the meta device; expected values"),
        (torch.ones(2, 13, 32, 32, dtype=torch.bool), "an array of bool; expected real numbers"),
        (torch.ones(2, 13, 32, 32, dtype=torch.complex64), "an array of complex64; expected real numbers"),
        (values()[0], r"expected \(batch, band, y, x\): give one image as values\[None\]"),
        (values()[:, :, 0, 0], r"shape \(2, 13\); expected \(batch, band, y, x\)"),
    ],
)
def test_what_has_no_one_meaning_is_refused(network: Backbone, fed, words) -> None:
    """With what was found, what is expected, and what to do."""
    with pytest.raises(ContractMismatch, match=words):
        network.embed(fed, L1C)


@pytest.mark.parametrize("shape", [(0, 13, 32, 32), (2, 13, 0, 32), (2, 13, 32, 0), (2, 0, 32, 32)])
def test_batches_without_a_pixel_are_refused(network: Backbone, shape) -> None:
    """No image, no row, no column, no band."""
    with pytest.raises(SampleInvalid, match=r"holds no pixel; expected one image or more"):
        network.embed(np.zeros(shape, np.uint16), L1C)


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        ("S2L1C", r'a contract of type str; expected a Contract: say contract=stored\("S2L1C"\)'),
        ("DN", "a contract of type str; expected a Contract: make one with ssl4eo.contract.stored"),
        (L1C.to_json(), "a contract of type dict; expected a Contract: .*contract_from_json"),
        (1000, "a contract of type int; expected a Contract"),
    ],
)
def test_what_is_no_contract_is_refused(network: Backbone, contract, words) -> None:
    """A name could be of values as stored or scaled."""
    with pytest.raises(ContractMismatch, match=words):
        network.embed(values(), contract)


def test_arrays_by_name_are_no_images(network: Backbone, fused: Backbone) -> None:
    """They do not know what they hold; the remedy is one array, with a contract."""
    arrays = {"S2L1C": values(), "S1GRD": radar()}

    with pytest.raises(ContractMismatch, match=r"S2L1C is a ndarray; .*contract=FusedContract"):
        fused.embed(arrays)
    with pytest.raises(ContractMismatch, match=r"S2L1C is a ndarray; .*hand over the array alone, with contract="):
        network.embed({"S2L1C": values()})
    with pytest.raises(ContractMismatch, match="images of nothing; expected an image of each of S2L1C, S1GRD"):
        fused.embed({})


def test_a_contract_beside_an_image_must_be_its_own(network: Backbone, fused: Backbone) -> None:
    """It was ignored once: somebody who said offset=1000 got features without it."""
    image = optical()

    torch.testing.assert_close(network.embed(image, image.contract), network.embed(image))
    with pytest.raises(ContractMismatch, match=r"an Image with the contract .*offset 1000.*leave the contract out"):
        network.embed(image, stored("S2L1C", offset=1000))
    with pytest.raises(ContractMismatch, match="leave the contract out"):
        fused.embed({"S2L1C": image, "S1GRD": radar()}, FUSED)


TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def few_bands(offset: int) -> Image:
    """An image of surface reflectance without the bands of 60 m."""
    pixels = {r: optical().pixels[r] for r in (10, 20)}
    return Image("S2L2A", pixels, offset=offset, kept=Form.native("S2L2A", bands=TEN))


@pytest.mark.parametrize("is_image", [False, True])
@pytest.mark.parametrize("offset", [0, 1000])
def test_ways_without_some_bands_work_as_the_refusal_writes_them(network: Backbone, is_image, offset) -> None:
    """For arrays and images alike; a network that was cut sees what one that is fed zeros does."""
    image = few_bands(offset)
    source = image.contract if is_image else stored("S2L2A", bands=TEN, offset=offset)
    fed = image if is_image else values(bands=10)
    with pytest.raises(ContractMismatch, match="S2L2A values have no B01 B09 B10") as told:
        network.embed(fed, None if is_image else source)

    names = {"stored": stored, "values": fed, "embed": network.embed, "network": network, "dataclasses": dataclasses}
    names["backbones"] = ssl4eo.backbones
    feed, cut = re.search(r"(embed\(.*\)) \(or 'mean'\).*(backbones\.adapt\..*\))$", str(told.value)).groups()
    features = eval(feed, names)  # what the message says, literally

    torch.testing.assert_close(eval(cut, names).embed(fed, source), features)
    assert (network.embed(fed, dataclasses.replace(source, fill="mean")) - features).abs().max() > 1e-4


def test_an_image_is_told_nothing_but_what_stands_for_absent_bands(network: Backbone) -> None:
    """Any other difference would change what its pixels mean."""
    image = few_bands(1000)

    with pytest.raises(ContractMismatch, match="no more than its fill may be another"):
        network.embed(image, dataclasses.replace(image.contract, fill="zero", offset=0))


def test_infinity_in_float32_is_refused(network: Backbone) -> None:
    """1e300 is finite where it comes from, and white after the clip."""
    batch = values().astype(np.float64)
    batch[1, 3, 4, 5] = 1e300

    with pytest.raises(SampleInvalid, match="image 1 of 2 has values that are not finite"):
        network.embed(batch, L1C)


def test_images_without_data_are_told_by_number(network: Backbone, caplog) -> None:
    """The features of nothing but zeros mean nothing; a corner without data is usual."""
    batch = values(8)
    batch[:, :, :4, :4] = 0
    network.embed(batch, L1C)
    assert not caplog.records
    batch[[1, 4]] = 0

    assert network.embed(batch, L1C).shape == (8, 512)

    (record,) = caplog.records
    assert "image 1, 4 of 8 has nothing but zeros, which mean no data: leave it out" in record.message


def test_a_batch_of_nothing_is_told_once(network: Backbone, caplog) -> None:
    """Not as thirteen constant bands, nor as reflectance."""
    network.embed(np.zeros((2, 13, 32, 32), np.uint16), L1C)

    (record,) = caplog.records
    assert "image 0, 1 of 2 has nothing but zeros" in record.message


def test_an_image_that_is_marked_as_not_observed_is_told(network: Backbone, caplog) -> None:
    """Archives keep them with a flag where they are asked to."""
    network.embed(optical())
    assert not caplog.records

    network.embed(optical(valid=False))

    assert "marked as not observed" in caplog.text


def test_a_sensor_without_data_is_told_unless_it_is_absent_after_scaling(fused: Backbone, caplog) -> None:
    """0 dB is fill and as bright as a city; zeros after scaling are what sensor drop trains."""
    rng = np.random.default_rng(3)
    batch = np.concatenate([values(), rng.normal(-14, 4, (2, 2, 32, 32))], axis=1).astype(np.float32)
    fused.embed(batch, FUSED)
    assert not caplog.records
    batch[1, 13:] = 0

    fused.embed(batch, FUSED)

    (record,) = caplog.records
    assert "S1GRD" in record.message
    assert "image 1 of 2 has nothing but zeros" in record.message
    caplog.clear()
    scaled = rng.uniform(0.01, 1, (2, 15, 32, 32)).astype(np.float32)
    scaled[1, 13:] = 0
    fused.embed(scaled, fused.contract)
    scaled[:, 13:] = 0
    fused.embed(scaled, fused.contract)
    assert not caplog.records
    scaled[1] = 0
    fused.embed(scaled, fused.contract)
    assert "image 1 of 2 has nothing but zeros" in caplog.text


def test_means_leave_zeros_out(caplog) -> None:
    """Half a cloud beside a black corner is no forgotten offset: its mean is that of the cloud."""
    network = Backbone("resnet18", network_input("S2L2A"), image_size=32, seed=0).eval()
    batch = np.random.default_rng(4).integers(2000, 9000, (2, 12, 32, 32), dtype=np.uint16)
    batch[:, :, :, :20] = 0

    with caplog.at_level(logging.WARNING):
        network.embed(batch, stored("S2L2A"))

    assert not caplog.records
