# SPDX-License-Identifier: Apache-2.0
"""The table of instruments against the published facts."""

from __future__ import annotations

import pytest

from ssl4eo.errors import UnknownName
from ssl4eo.sensors import BANDS, MODALITIES, canonical_band, modality, published_band, statistics


def test_published_orders():
    """13, 12, 2 and 3 bands in the published order."""
    assert " ".join(modality("S2L1C").bands) == "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B10 B11 B12"
    assert modality("S2L2A").bands == tuple(b for b in modality("S2L1C").bands if b != "B10")
    assert modality("S1GRD").bands == ("VV", "VH")
    assert modality("S2RGB").bands == ("B04", "B03", "B02")


def test_native_groups():
    """Four bands at 10 m, six at 20 m, three at 60 m: 389,136 native pixels of a 264 px patch."""
    groups = modality("S2L1C").groups

    assert {r: len(b) for r, b in groups.items()} == {10: 4, 20: 6, 60: 3}
    assert sum(len(b) * (2640 // r) ** 2 for r, b in groups.items()) == 389_136
    assert list(modality("S2L2A").groups[60]) == ["B01", "B09"]


@pytest.mark.parametrize("name", MODALITIES)
def test_groups_cover_all_bands_once(name):
    """Every band is in exactly one group."""
    grouped = [b for bands in modality(name).groups.values() for b in bands]

    assert sorted(grouped) == sorted(modality(name).bands)


@pytest.mark.parametrize("name", ["S1GRD", "S2L1C", "S2L2A"])
@pytest.mark.parametrize("source", ["published_50k", "published_rounded", "v1.1"])
def test_statistics_cover_all_bands_with_positive_spread(name, source):
    """Each set of statistics has every band."""
    table = statistics(name, source)

    assert tuple(table.mean) == tuple(table.std) == modality(name).bands
    assert all(v > 0 for v in table.std.values())


def test_some_published_statistics():
    """Values copied from the publication, one of each set."""
    assert statistics("S2L1C", "published_50k").mean["B10"] == 22.10351321
    assert statistics("S2L2A", "published_rounded").std["B12"] == 1352.2
    assert statistics("S2L1C", "v1.1").mean["B10"] == 1021.753
    assert statistics("S1GRD", "published_rounded").mean["VH"] == -20.26


def test_wavelengths_rise_through_the_optical_bands():
    """The order of Sentinel-2 bands is the order of their wavelengths."""
    waves = [BANDS[b].wavelength_nm for b in modality("S2L1C").bands]

    assert waves == sorted(waves)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("B1", "B01"), ("b01", "B01"), ("B8a", "B8A"), ("vv", "VV"), ("red", "B04"), ("B12", "B12"), ("nir", "B08")],
)
def test_foreign_spellings(spelling, name):
    """Known spellings of other projects are translated."""
    assert canonical_band(spelling) == name


@pytest.mark.parametrize("name", BANDS)
def test_published_spelling_round_trip(name):
    """A file stem of the published layout leads back to the band."""
    assert canonical_band(published_band(name)) == name


@pytest.mark.parametrize("name", ["B13", "HH", "", "B0", "thermal"])
def test_unknown_band_is_refused(name):
    """What is in no table is not guessed."""
    with pytest.raises(UnknownName):
        canonical_band(name)


def test_unknown_modality_suggests_the_nearest():
    """A typing error gets a suggestion."""
    with pytest.raises(UnknownName, match="did you mean S2L1C"):
        modality("S2L1D")


def test_unknown_statistics_are_refused():
    """S2RGB has no 50k statistics."""
    with pytest.raises(UnknownName, match="S2RGB"):
        statistics("S2RGB", "published_50k")


def test_stretches_are_the_published_ones():
    """Reflectance 0 to 0.4, 248.15 to 318.15 K, and the DN that are reflectance 0 to 0.3; nothing for Sentinel."""
    assert modality("L8TOA").stretch["B4"] == modality("L7TOA").stretch["B8"] == (0.0, 0.4, "reflectance")
    thermal = [
        (name, b) for name in ("L5TOA", "L7TOA", "L8TOA") for b, s in modality(name).stretch.items() if s[2] == "K"
    ]
    assert [band for _, band in thermal] == ["B6", "B6_VCID_1", "B6_VCID_2", "B10", "B11"]
    assert modality("L5TOA").stretch["B6"] == (248.15, 318.15, "K")
    low, high, _ = modality("L7SR").stretch["SR_B7"]
    assert (low * 2.75e-5 - 0.2, high * 2.75e-5 - 0.2) == pytest.approx((0, 0.3), abs=1e-6)
    for name in ("L5TOA", "L7TOA", "L7SR", "L8TOA", "L8SR"):
        assert tuple(modality(name).stretch) == modality(name).bands
    assert modality("S2L1C").stretch == {}
