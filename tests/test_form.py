# SPDX-License-Identifier: Apache-2.0
"""A form says how pixels are kept, and refuses what no archive can hold."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ssl4eo.errors import ConfigInvalid, ContractMismatch, UnknownName
from ssl4eo.form import Form
from ssl4eo.sensors import MODALITIES


@pytest.mark.parametrize("name", MODALITIES)
def test_native_forms_have_all_bands_at_their_own_resolution(name: str) -> None:
    """Bands in canonical order, the usual type, nothing quantized; JSON gives the same form back."""
    form = Form.native(name)

    assert form.is_native
    assert form.bands == MODALITIES[name].bands
    assert form.dtype == MODALITIES[name].dtype
    assert form.contract().bands == form.bands
    assert Form.from_json(json.loads(json.dumps(form.to_json()))) == form


def test_a_gridded_form_puts_bands_into_canonical_order() -> None:
    """EuroSAT's B8A, last in its files, is the ninth here; the form is not native."""
    form = Form.gridded("S2L1C", bands=["B01", "B02", "B09", "B8A"])

    assert form.groups == ((10, ("B01", "B02", "B8A", "B09")),)
    assert not form.is_native
    assert form.base == 10


def test_a_form_knows_which_grids_carry_bands() -> None:
    """What need not be read is told by band."""
    form = Form.native("S2L1C")

    assert form.resolutions_of(["B02", "B11"]) == (10, 20)
    assert form.bands_at(60) == ("B01", "B09", "B10")
    assert form.bands_at(30) == ()


def test_subsets_keep_only_the_grids_that_they_need() -> None:
    """Two 20 m bands make a form whose finest grid is 20 m."""
    form = Form.native("S2L2A", bands=["B8A", "B05"])

    assert form.groups == ((20, ("B05", "B8A")),)
    assert form.base == 20


def test_quantized_forms_are_uint8_and_say_their_rule() -> None:
    """The contract carries it, so that nobody takes the values for digital numbers."""
    form = Form.gridded("S1GRD", scaling="uint8_sigma2:published_50k")

    assert form.dtype == "uint8"
    assert form.contract().is_quantized
    assert "uint8_sigma2" in str(form.contract())


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Form("S2L1C", (), "uint16"), ConfigInvalid),
        (lambda: Form("S2L1C", ((20, ("B05",)), (10, ("B02",))), "uint16"), ConfigInvalid),
        (lambda: Form("S2L1C", ((10, ("B03", "B02")),), "uint16"), ConfigInvalid),
        (lambda: Form("S2L1C", ((0, ("B02",)),), "uint16"), ConfigInvalid),
        (lambda: Form("S2L1C", ((10, ("B02",)), (20, ("B02",))), "uint16"), ContractMismatch),
        (lambda: Form.native("S2L2A", bands=[]), ConfigInvalid),
        (lambda: Form.gridded("S2L2A", bands=["B10"]), ContractMismatch),
        (lambda: Form.gridded("S2L1C", dtype="float32"), ConfigInvalid),
        (lambda: Form.gridded("S1GRD", dtype="uint16"), ConfigInvalid),
        (lambda: Form.gridded("S2L1C", dtype="uint16", scaling="uint8_10k"), ConfigInvalid),
        (lambda: Form.gridded("S1GRD", scaling="uint8_10k"), ContractMismatch),
        (lambda: Form.gridded("S2RGB", scaling="uint8_10k"), ContractMismatch),
        (lambda: Form.gridded("S2L1C", scaling="uint8_sigma2"), UnknownName),
        (lambda: Form.gridded("S2L1C", scaling="uint8_sigma2:mine"), UnknownName),
        (lambda: Form.native("S3"), UnknownName),
        (lambda: replace(Form.native("S2L1C"), step=0.5), ConfigInvalid),
    ],
)
def test_what_no_archive_can_hold_is_refused(make, error: type) -> None:
    """Before a pixel is read."""
    with pytest.raises(error):
        make()
