# SPDX-License-Identifier: Apache-2.0
"""The RGB PNG subset: four pictures a location in order of time, and every refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from write_pictures import cuts, noise, write

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.rgb_png import RgbPng
from ssl4eo.errors import DataMissing, LocationMissing, SourceInvalid
from ssl4eo.packing.pack import pack

PRODUCTS = [f"{day}T105031_{day}T105240_T31UFS" for day in ("20200320", "20200618", "20200921", "20210105")]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One location."""
    root = tmp_path_factory.mktemp("png") / "rgb_subset"
    for i, product in enumerate(PRODUCTS):
        write(root / "s2c/0000017" / f"{product}.png", noise(3, 264, 264, seed=i))
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(template, tmp_path / "rgb_subset"))


def _first(root: Path) -> Path:
    return root / "s2c/0000017" / f"{PRODUCTS[0]}.png"


def test_the_pictures_are_seasons_in_order_of_time(template: Path) -> None:
    """Values are those that Pillow reads; the folder above does as well as the subset itself."""
    for root in (template, template.parent):
        source = RgbPng(root)
        sample = source.read("0000017")

        assert (list(source.ids()), source.num_seasons, source.shape) == (["0000017"], 4, (264, 264))
        images = sample.images["S2RGB"]
        assert [image.product for image in images] == PRODUCTS
        assert images[0].time.isoformat() == "2020-03-20T10:50:31+00:00"
        for image in images:
            with PIL.Image.open(template / "s2c/0000017" / f"{image.product}.png") as picture:
                assert np.array_equal(image.pixels[10].transpose(1, 2, 0), np.asarray(picture))
        assert images[0].form.bands == ("B04", "B03", "B02")


def test_the_provenance_says_how_they_were_stretched(template: Path) -> None:
    """The formula and the statistics."""
    assert "published_rounded" in str(RgbPng(template).provenance.details["stretch"])


def test_void_and_unknown_ids_are_missing(root: Path) -> None:
    """A void folder is neither listed nor read."""
    shutil.copytree(root / "s2c/0000017", root / "s2c/0125000")

    assert list(RgbPng(root).ids()) == ["0000017"]
    for location in ("0125000", "0000018"):
        with pytest.raises(LocationMissing):
            RgbPng(root).read(location)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: p.unlink(), "3 products .*expected 4"),
        (lambda p: p.write_bytes(b"h"), "cannot be read"),
        (lambda p: p.write_text("not a picture"), "cannot be read"),
        (lambda p: write(p, noise(3, 264, 263)), "264 x 263"),
        (lambda p: write(p, noise(4, 264, 264)), "4 bands"),
        (lambda p: write(p, noise(3, 264, 264, dtype="u2")), "uint16"),
        (lambda p: p.rename(p.with_name("a.png")), "no time in its name"),
        (lambda p: shutil.copy(p, p.with_name("20200320T115031_x.png")), "5 products"),
        (lambda p: p.rename(p.with_name(f"{PRODUCTS[1][:9]}115031_x.png")), "two products of one date"),
        (lambda p: shutil.copytree(p.parent, p.parent.with_name("000017")), "0000017 and 000017"),
    ],
)
def test_a_broken_location_is_refused_with_its_reason(root: Path, harm, message: str) -> None:
    """Missing, unreadable, of another size, type or channel count, without time, double."""
    harm(_first(root))

    with pytest.raises(SourceInvalid, match=message):
        RgbPng(root, num_seasons=4).read("0000017")


def test_a_picture_cut_short_goes_to_the_ledger(root: Path, tmp_path: Path) -> None:
    """Its location is left out with the reason; the other is stored."""
    shutil.copytree(root / "s2c/0000017", root / "s2c/0000018")
    for rest in cuts(_first(root))[3:6]:
        _first(root).write_bytes(rest)

        report = pack(RgbPng(root), tmp_path / "a.zarr", statistics=False)

        assert (report.num_stored, list(report.skipped)) == (1, ["0000017"])
        assert "cannot be read" in report.skipped["0000017"]
        assert open_archive(tmp_path / "a.zarr").ids == ("0000018",)
        shutil.rmtree(tmp_path / "a.zarr")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """With what it holds."""
    (tmp_path / "photos").mkdir()

    with pytest.raises(DataMissing, match="holds photos"):
        RgbPng(tmp_path)
