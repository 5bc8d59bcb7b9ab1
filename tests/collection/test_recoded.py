# SPDX-License-Identifier: Apache-2.0
"""The 8-bit forms: worked by hand, against an independent oracle and OpenCV, and through an archive."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.recoded import SIGMA2, EightBit, upsample
from ssl4eo.contract import network_input, plan_remap
from ssl4eo.errors import ConfigInvalid, ContractMismatch, UnknownName
from ssl4eo.form import Form
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Image, Location, Provenance, Sample
from ssl4eo.sensors import modality, statistics

SIZE = (12, 18)
NAMES = ("S1GRD", "S2L1C", "S2L2A", "S2RGB")
PROVENANCE = Provenance("noise", synthetic=True, licence="CC0-1.0", details={"seed": 1})


@dataclass(frozen=True)
class Noise:
    """A source of noise in native forms, one season, with what a test changes."""

    offset: int = 0
    fill: bool = False
    modalities: tuple[str, ...] = NAMES
    provenance: Provenance = PROVENANCE
    num_seasons: int = 1
    shape: tuple[int, int] = SIZE
    masks: dict[str, bool] = field(default_factory=lambda: {"cover": False})
    s1_type: str = "float32"

    @property
    def forms(self) -> tuple[Form, ...]:
        """Native forms."""
        return tuple(self._form(name) for name in self.modalities)

    def _form(self, name: str) -> Form:
        form = Form.native(name)
        return replace(form, dtype=self.s1_type) if name == "S1GRD" else form

    def ids(self) -> Sequence[str]:
        """List some ids."""
        return [f"{i:07d}" for i in range(3)]

    def read(self, location: str) -> Sample:
        """Make a sample."""
        rng = np.random.default_rng(int(location))
        images = {name: (self._image(name, rng),) for name in self.modalities}
        if self.fill and location == "0000001":
            images["S1GRD"][0].pixels[10][0, 2, 3] = 0
        mask = rng.integers(0, 5, SIZE).astype("u1")
        return Sample(Location(location, 3.0, 45.0), images, labels={"scene": location}, masks={"cover": mask})

    def _image(self, name: str, rng: np.random.Generator) -> Image:
        form = self._form(name)
        pixels = {}
        for resolution, bands in form.groups:
            shape = (len(bands), SIZE[0] * 10 // resolution, SIZE[1] * 10 // resolution)
            if modality(name).unit == "dB":
                pixels[resolution] = rng.normal(-14, 8, shape).astype(form.dtype)
            else:
                pixels[resolution] = rng.integers(1, 256 if form.dtype == "uint8" else 30_000, shape).astype(form.dtype)
        return Image(name, pixels, offset=self.offset if modality(name).unit == "DN" else 0, kept=form)


def _of(values: np.ndarray, *, offset: int = 0) -> Sample:
    """Make a sample whose B02 begins with these values."""
    source = Noise(modalities=("S2L1C",), offset=offset)
    sample = source.read("0000000")
    sample.images["S2L1C"][0].pixels[10][0, 0, : len(values)] = values
    return sample


DN = np.array([0, 39, 40, 5000, 9999, 10_000, 10_039, 10_040, 12_000, 28_003, 65_535])


@pytest.mark.parametrize(
    ("as_published", "expected"),
    [
        (False, [0, 0, 1, 127, 254, 255, 255, 255, 255, 255, 255]),
        (True, [0, 0, 1, 127, 254, 255, 255, 0, 50, 202, 135]),
    ],
)
def test_values_worked_by_hand(as_published: bool, expected: list[int]) -> None:
    """Clipped, 255 is the end; as published, 10,040 DN is 0 again, 12,000 is 50 and 28,003 is 202."""
    source = EightBit(Noise(modalities=("S2L1C",)), "10k", as_published=as_published)

    image = source.recode(_of(DN)).images["S2L1C"][0]

    assert image.band("B02")[0, : len(DN)].tolist() == expected
    assert image.contract.scaling == ("uint8_10k_wrapped" if as_published else "uint8_10k")


def test_an_offset_is_subtracted_first_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """1000 DN more give the same 8 bits; below the offset is 0, not 65,000."""
    plain = EightBit(Noise(modalities=("S2L1C",)), "10k")
    corrected = EightBit(Noise(modalities=("S2L1C",), offset=1000), "10k")

    image = corrected.recode(_of(np.array([0, 500, 1000, 1040, 13_000]), offset=1000)).images["S2L1C"][0]
    shifted = plain.recode(_of(np.array([0, 0, 0, 40, 12_000]))).images["S2L1C"][0]

    assert image.band("B02")[0, :5].tolist() == shifted.band("B02")[0, :5].tolist() == [0, 0, 0, 1, 255]
    assert image.offset == 0
    assert "subtracted" in str(corrected.provenance.details["8bit_offset"])


def test_an_offset_is_refused_where_the_published_form_is_asked_for() -> None:
    """What was published had none; the remedy says how to have it subtracted."""
    source = EightBit(Noise(modalities=("S2L1C",), offset=1000), "10k", as_published=True)

    with pytest.raises(ContractMismatch, match=r"location 0000000.*\+1000 DN.*leave --as-published out"):
        source.read("0000000")


def _scale(values: np.ndarray, name: str, band: str, rule: str) -> np.ndarray:
    """The oracle: one band in float64, straight from the formulas, not yet cut to integers."""
    x = values.astype(np.float64)
    if rule == "10k":
        return x / 10_000 * 255
    table = statistics(name, "published_50k")
    low, width = table.mean[band] - 2 * table.std[band], 4 * table.std[band]
    return np.clip((x - low) / width * 255, 0, 255)


@pytest.mark.parametrize("rule", ["10k", "sigma2"])
@pytest.mark.parametrize("name", ["S2L1C", "S2L2A"])
def test_native_groups_equal_the_oracle_in_every_band(rule: str, name: str) -> None:
    """On their own grids, clipped."""
    source = Noise(modalities=(name,))

    before = source.read("0000002").images[name][0]
    after = EightBit(source, rule).read("0000002").images[name][0]

    assert after.form.resolutions == before.form.resolutions
    for band in modality(name).bands:
        expected = np.clip(_scale(before.band(band), name, band, rule), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(after.band(band), expected)


@pytest.mark.parametrize("rule", ["10k", "sigma2"])
@pytest.mark.parametrize("name", ["S2L1C", "S2L2A"])
def test_the_published_form_equals_opencv_and_the_oracle_in_every_band(rule: str, name: str) -> None:
    """Upsampled by INTER_LINEAR_EXACT to whole DN, then 8 bits; 10k wraps. The largest difference is 0."""
    source = Noise(modalities=(name,))

    before = source.read("0000002").images[name][0]
    after = EightBit(source, rule, as_published=True).read("0000002").images[name][0]

    assert after.form.resolutions == (10,)
    for band in modality(name).bands:
        whole = cv2.resize(before.band(band), SIZE[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        expected = (_scale(whole, name, band, rule).astype(np.int64) % 256).astype(np.uint8)
        np.testing.assert_array_equal(after.band(band), expected)


@pytest.mark.parametrize("factor", [1, 2, 6])
@pytest.mark.parametrize("top", [4, 3000, 65_536])
def test_upsampling_is_that_of_opencv_in_every_value(factor: int, top: int) -> None:
    """Over sizes and ranges, and at the full size of a patch: the largest difference is 0 DN."""
    rng = np.random.default_rng(factor)
    for height, width in ((1, 1), (2, 3), (5, 7), (22, 44), (44, 44)):
        values = rng.integers(0, top, (3, height, width)).astype(np.uint16)
        size = (height * factor, width * factor)

        found = upsample(values, size)

        wanted = [cv2.resize(v, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT) for v in values]
        np.testing.assert_array_equal(found, np.stack(wanted))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("rule", ["10k", "sigma2"])
def test_sentinel_1_is_always_scaled_by_its_statistics(rule: str, as_published: bool, dtype: str) -> None:
    """Equal to the oracle but where float32 and float64 fall on two sides of a step: by one, in under 1 of 200."""
    source = Noise(modalities=("S1GRD",), s1_type=dtype)

    before = source.read("0000001").images["S1GRD"][0]
    after = EightBit(source, rule, as_published=as_published).read("0000001").images["S1GRD"][0]

    assert after.contract.scaling == SIGMA2
    for band in ("VV", "VH"):
        expected = _scale(before.band(band), "S1GRD", band, "sigma2").astype(np.uint8)
        difference = np.abs(after.band(band).astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1 / 200


def test_nearly_nothing_is_left_of_the_cirrus_band() -> None:
    """B10 of 22 DN +- 51 is 0, 1 or 2 in steps of 39 DN: the price of rule 10k; sigma2 keeps it."""
    sample = Noise(modalities=("S2L1C",)).read("0000000")
    image = sample.images["S2L1C"][0]
    index = image.form.bands_at(60).index("B10")
    image.pixels[60][index] = np.arange(image.pixels[60][index].size).reshape(image.pixels[60][index].shape) * 20

    by_10k = EightBit(Noise(modalities=("S2L1C",)), "10k").recode(sample).images["S2L1C"][0].band("B10")
    by_sigma = EightBit(Noise(modalities=("S2L1C",)), "sigma2").recode(sample).images["S2L1C"][0].band("B10")

    assert sorted(set(by_10k.ravel().tolist())) == [0, 1, 2]
    assert len(set(by_sigma.ravel().tolist())) == by_sigma.size


def test_pictures_masks_labels_and_places_stay_as_they_are() -> None:
    """Only digital numbers and decibels become 8 bits."""
    before = Noise().read("0000001")

    after = EightBit(Noise(), "10k", as_published=True).read("0000001")

    np.testing.assert_array_equal(before.images["S2RGB"][0].pixels[10], after.images["S2RGB"][0].pixels[10])
    np.testing.assert_array_equal(before.masks["cover"], after.masks["cover"])
    assert (before.labels, before.location) == (after.labels, after.location)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("rule", ["10k", "sigma2"])
def test_an_archive_holds_the_same_8_bits_and_says_the_rule(tmp_path: Path, rule: str, as_published: bool) -> None:
    """Pixels, forms, contracts, provenance."""
    source = EightBit(Noise(), rule, as_published=as_published)

    report = pack(source, tmp_path / "a.zarr")

    archive = open_archive(tmp_path / "a.zarr")
    assert report.num_stored == 3
    assert tuple(archive.form(name) for name in NAMES) == source.forms
    wrapped = "_wrapped" if as_published else ""
    scaling = SIGMA2 if rule == "sigma2" else f"uint8_10k{wrapped}"
    assert [archive.contract(name).scaling for name in NAMES] == [SIGMA2, scaling, scaling, "none"]
    assert archive.provenance.details["seed"] == 1
    assert archive.provenance.details["S1GRD_8bit"] == SIGMA2
    assert archive.provenance.details["S2L1C_8bit"] == scaling
    for location in source.ids():
        for name, (image,) in source.read(location).images.items():
            stored = archive.read(name, location=location, season=0)
            assert stored.valid
            for resolution, pixels in image.pixels.items():
                np.testing.assert_array_equal(stored.pixels[resolution], pixels)


@pytest.mark.parametrize("nodata", ["skip", "flag"])
def test_fill_values_are_found_before_they_become_255(tmp_path: Path, nodata: str) -> None:
    """Zero decibels would pass as the brightest radar echo."""
    report = pack(EightBit(Noise(fill=True), "10k"), tmp_path / "a.zarr", nodata=nodata)

    archive = open_archive(tmp_path / "a.zarr")
    if nodata == "skip":
        assert list(report.skipped) == ["0000001"]
        assert "0 dB" in report.skipped["0000001"]
    else:
        assert [archive.read("S1GRD", location=i, season=0).valid for i in archive.ids] == [True, False, True]


def test_dark_pixels_of_8_bits_are_not_taken_for_fill_values(tmp_path: Path) -> None:
    """Under 40 DN in all 10 m bands, as deep water has: 0 in 8 bits, and still seen."""
    source = Noise(modalities=("S2L2A",))
    sample = source.read("0000000")
    sample.images["S2L2A"][0].pixels[10][:, 0, 0] = 20

    class Dark(Noise):
        def read(self, location: str) -> Sample:
            return sample if location == "0000000" else super().read(location)

    pack(EightBit(Dark(modalities=("S2L2A",)), "10k"), tmp_path / "a.zarr")
    archive = open_archive(tmp_path / "a.zarr")
    assert archive.read("S2L2A", location="0000000", season=0).pixels[10][:, 0, 0].tolist() == [0, 0, 0, 0]
    assert archive.read("S2L2A", location="0000000", season=0).valid


def _span(name: str, band: str, scaling: str) -> tuple[float, float]:
    """Give the values that a rule does not clip."""
    if scaling != SIGMA2:
        return 0, 10_000
    table = statistics(name, "published_50k")
    return table.mean[band] - 2 * table.std[band], table.mean[band] + 2 * table.std[band]


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("rule", ["10k", "sigma2"])
@pytest.mark.parametrize("name", ["S1GRD", "S2L1C", "S2L2A"])
def test_networks_see_8_bits_within_one_step_of_the_values(name: str, rule: str, as_published: bool) -> None:
    """From the contract of the 8 bits to that of our recipes, over all values that the rule does not clip."""
    source = EightBit(Noise(modalities=(name,)), rule, as_published=as_published)
    sample = Noise(modalities=(name,)).read("0000000")
    (image,), (form,) = sample.images[name], source.forms
    rng = np.random.default_rng(5)
    for band in form.bands:
        low, high = _span(name, band, form.scaling)
        plane = image.band(band)
        plane[...] = rng.uniform(low if name == "S1GRD" else max(low, 0), min(high, 10_000), plane.shape)

    after = source.recode(sample).images[name][0]

    for band in form.bands:
        wanted = network_input(name, bands=(band,))
        values = cv2.resize(image.band(band), SIZE[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        values = values if as_published else image.band(band)
        direct = plan_remap(replace(image.contract, bands=(band,)), wanted)(values[None])
        seen = plan_remap(replace(form.contract(), bands=(band,)), wanted)(after.band(band)[None])
        low, high = _span(name, band, form.scaling)
        gain = 1e-4 if name != "S1GRD" else 1 / (high - low)
        assert np.abs(seen - direct).max() <= (high - low) / 255 * gain + 1e-6


def test_what_cannot_become_8_bits_is_refused() -> None:
    """8 bits already, another rule, and radar that no statistics are published for."""
    twice = EightBit(Noise(modalities=("S2L1C",)), "10k")

    class Rtc(Noise):
        @property
        def forms(self) -> tuple[Form, ...]:
            return (Form.native("S1RTC"),)

    with pytest.raises(ConfigInvalid, match="8 bits already"):
        EightBit(twice, "sigma2")
    with pytest.raises(UnknownName, match="10000"):
        EightBit(Noise(), "10000")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownName, match="published_50k"):
        EightBit(Rtc(), "10k")
