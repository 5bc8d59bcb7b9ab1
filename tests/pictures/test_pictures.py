# SPDX-License-Identifier: Apache-2.0
"""Pictures of pixels: what a value stands for decides how bright it is, whatever form the archive keeps it in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from ssl4eo.archive.reader import open_archive
from ssl4eo.commands import collect, show
from ssl4eo.errors import ConfigInvalid, LocationMissing, ShardCorrupt, UnknownName
from ssl4eo.form import Form
from ssl4eo.pictures.composites import composite_of, composites_of
from ssl4eo.pictures.render import encode, render, resized
from ssl4eo.pictures.stretches import limits_of
from ssl4eo.pictures.values import kind_of, no_data, physical, steps_of
from ssl4eo.sample import Image
from ssl4eo.sensors import MODALITIES

SIZE = 12


def _image(form: Form, values: dict[str, float], *, offset: int = 0) -> Image:
    """Make an image with one stored value a band; bands that are not named are 1."""
    pixels = {
        r: np.stack([np.full((SIZE * form.base // r,) * 2, values.get(b, 1)) for b in bands]).astype(form.dtype)
        for r, bands in form.groups
    }
    return Image(form.modality, pixels, offset=offset, kept=form)


def test_every_modality_has_a_picture_and_every_composite_of_it_can_be_drawn() -> None:
    """Sentinel and Landsat, native grids: the table knows bands by what they are."""
    for name in MODALITIES:
        form = Form.native(name)
        image = _image(form, {})
        found = composites_of(name, form.bands)
        assert len(found) >= len(form.bands) + 1
        for composite in found.values():
            assert set(composite.bands) <= set(form.bands)
            assert render(image, composite).shape == (SIZE, SIZE, 4)


def test_true_color_is_red_green_blue_and_swir_of_landsat_takes_its_near_infrared() -> None:
    """Names of bands by hand."""
    assert composite_of("S2L2A", Form.native("S2L2A").bands, "true-color").bands == ("B04", "B03", "B02")
    assert composite_of("S2L2A", Form.native("S2L2A").bands, "swir").bands == ("B12", "B8A", "B04")
    assert composite_of("L8SR", Form.native("L8SR").bands, "swir").bands == ("SR_B7", "SR_B5", "SR_B4")
    assert composite_of("L8TOA", Form.native("L8TOA").bands, "B10").channels == (("B10",),)


@pytest.mark.parametrize(
    ("form", "band", "stored", "offset", "expected", "step"),
    [
        (Form.native("S2L2A"), "B04", 2500, 0, 0.25, 1e-6),
        (Form.native("S2L2A"), "B04", 3500, 1000, 0.25, 1e-6),
        (Form.gridded("S2L1C", scaling="uint8_10k"), "B11", 51, 0, 0.2, 1e-6),
        (Form.native("S1GRD"), "VH", -17.5, 0, -17.5, 0),
        (Form.gridded("S1GRD", dtype="float16"), "VH", -17.5, 0, -17.5, 0),
        (Form.native("L8TOA"), "B4", 255, 0, 0.4, 1e-6),
        (Form.native("L8SR"), "SR_B4", 0, 0, 0.0, 1e-4),
        (Form.native("S2RGB"), "B02", 51, 0, 0.2, 1e-6),
    ],
)
def test_a_stored_value_becomes_what_it_stands_for(form, band, stored, offset, expected, step) -> None:
    """Offsets and 8-bit rules are undone; worked by hand."""
    image = _image(form, {band: stored}, offset=offset)

    assert physical(image, band)[0, 0] == pytest.approx(expected, abs=step)
    assert kind_of(form.modality, band) in ("reflectance", "dB", "display")


def test_the_offset_and_eight_bits_do_not_change_a_picture_with_fixed_limits() -> None:
    """0.2 of reflectance is one gray, in DN, in DN + 1000 and in 8 bits (51 of 255)."""
    values = dict.fromkeys(("B04", "B03", "B02"), 2000)
    plain = render(_image(Form.native("S2L2A"), values), "true-color", stretch="fixed")
    with_offset = {band: value + 1000 for band, value in values.items()}
    shifted = render(_image(Form.native("S2L2A"), with_offset, offset=1000), "true-color", stretch="fixed")
    eight = _image(Form.gridded("S2L2A", scaling="uint8_10k"), dict.fromkeys(values, 51))

    np.testing.assert_array_equal(plain, shifted)
    np.testing.assert_array_equal(plain, render(eight, "true-color", stretch="fixed"))
    assert plain[0, 0].tolist() == [round(255 * (0.2 / 0.3) ** 0.75)] * 3 + [255]


def test_nodata_is_told_from_dark() -> None:
    """A pixel that is 0 in all bands is transparent (or gray); one that is 0 in red alone is not."""
    image = _image(Form.native("S2L2A"), {"B04": 0})
    for array in image.pixels.values():
        array[:, 0, 0] = 0

    found = no_data(image)
    picture = render(image, "true-color", stretch="fixed")

    assert found[0, 0]
    assert found.sum() == 1  # bands of 20 m and 60 m cover more, those of 10 m do not
    assert picture[0, 0, 3] == 0
    assert picture[0, 1, 3] == 255
    assert render(image, "true-color", stretch="fixed", nodata="gray")[0, 0].tolist() == [128, 128, 128]


def test_radar_that_is_not_a_number_is_nodata() -> None:
    """NaN in one of the channels is no value."""
    image = _image(Form.native("S1GRD"), {"VV": -10, "VH": -17})
    image.pixels[10][0, 3, 4] = np.nan

    assert np.argwhere(no_data(image)).tolist() == [[3, 4]]
    assert render(image)[3, 4, 3] == 0


def test_seasons_share_their_limits_and_an_image_alone_has_its_own() -> None:
    """The same ground twice as bright stays brighter only where limits are shared."""
    rng = np.random.default_rng(0)
    dark = _image(Form.gridded("S2L2A"), {})
    dark.pixels[10][:] = rng.integers(100, 900, dark.pixels[10].shape)
    light = _image(Form.gridded("S2L2A"), {})
    light.pixels[10][:] = dark.pixels[10] * 2
    composite = composite_of("S2L2A", dark.form.bands)
    shared = limits_of([dark, light], composite, "shared")

    assert render(light, limits=shared)[..., :3].mean() > render(dark, limits=shared)[..., :3].mean() + 30
    np.testing.assert_allclose(render(light), render(dark), atol=1)


def test_water_and_forest_differ_in_the_index() -> None:
    """NDVI by hand: (0.4 - 0.04) / 0.44 is green, (0.01 - 0.05) / 0.06 is brown."""
    forest = render(_image(Form.native("S2L2A"), {"B08": 4000, "B04": 400}), "ndvi")[0, 0]
    water = render(_image(Form.native("S2L2A"), {"B08": 100, "B04": 500}), "ndvi")[0, 0]

    assert forest[1] > forest[0]
    assert water[0] > water[1]


def test_pictures_are_resized_and_encoded() -> None:
    """PNG is exact; enlarging repeats pixels."""
    picture = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)

    grown = np.asarray(resized(picture, 18))

    np.testing.assert_array_equal(grown, picture.repeat(2, 0).repeat(2, 1))
    assert encode(picture, "png").startswith(b"\x89PNG")
    assert encode(picture, "webp")[8:12] == b"WEBP"


def test_unknown_names_are_refused_with_what_there_is() -> None:
    """A composite of another sensor, a stretch that is none."""
    image = _image(Form.native("S1GRD"), {"VV": -10})
    with pytest.raises(UnknownName, match="vv-vh-ratio"):
        render(image, "true-color")
    with pytest.raises(UnknownName, match="shared"):
        render(image, stretch="bright")


def test_an_image_plots_itself_on_axes() -> None:
    """The title says what is shown; the pixels are those of `render`."""
    from matplotlib.figure import Figure

    image = _image(Form.native("S2L2A"), {"B04": 2000})
    axes = image.plot("swir", stretch="fixed", axes=Figure().add_subplot())

    assert "S2L2A" in axes.get_title()
    np.testing.assert_array_equal(axes.images[0].get_array(), render(image, "swir", stretch="fixed"))


def test_pictures_need_neither_torch_nor_matplotlib() -> None:
    """Drawing an image imports NumPy and Pillow, nothing heavy."""
    code = "import sys, ssl4eo.pictures.sheet; print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip() == b"[]"


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic archive of two modalities."""
    path = tmp_path_factory.mktemp("pictures") / "a.zarr"
    collect.run(out=path, num_locations=2, size=24, num_seasons=3, modalities=("S1GRD", "S2L2A"))
    return path


def test_show_writes_all_seasons_and_modalities(planet: Path, tmp_path: Path) -> None:
    """Two rows of three tiles of 48 px; the tile of the sheet is the picture of the image."""
    out = tmp_path / "x.png"

    assert show.run(planet, "0000001", out=out, size=48) == 0

    sheet = np.asarray(Pillow.open(out))
    archive = open_archive(planet)
    images = [archive.read("S1GRD", location="0000001", season=s) for s in range(3)]
    limits = limits_of(images, composite_of("S1GRD", ("VV", "VH")), "shared")
    tile = render(images[1], limits=limits, nodata="gray").repeat(2, 0).repeat(2, 1)
    assert sheet.shape[0] > 2 * 48
    assert any(np.array_equal(sheet[y : y + 48, 60 : 60 + 48], tile) for y in range(30, 80))


def test_show_refuses_what_is_not_there_before_it_writes(planet: Path, tmp_path: Path) -> None:
    """Location, season, composite, kind of file: each a clear error, and no file."""
    out = tmp_path / "x.png"
    with pytest.raises(LocationMissing, match="0000000 to 0000001"):
        show.run(planet, "nowhere", out=out)
    with pytest.raises(LocationMissing, match="season 9"):
        show.run(planet, "0000001", out=out, seasons=[9])
    with pytest.raises(UnknownName, match="true-color"):
        show.run(planet, "0000001", out=out, composite=["rainbow"])
    with pytest.raises(UnknownName, match="S2L2A"):
        show.run(planet, "0000001", out=out, modalities=["S2L1C"])
    with pytest.raises(ConfigInvalid, match=r"\.png"):
        show.run(planet, "0000001", out=tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def _harm(archive: Path, copy: Path, *grids: str) -> Path:
    """Copy an archive and damage the first chunk of some grids: location 0000000, season 0."""
    shutil.copytree(archive, copy)
    for grid in grids:
        shard = next((copy / grid / "bands").glob("c.*"))
        data = bytearray(shard.read_bytes())
        data[40] ^= 0xFF
        shard.write_bytes(data)
    return copy


def test_show_needs_the_grids_of_what_it_draws_and_no_others(planet: Path, tmp_path: Path) -> None:
    """True color is of the 10 m grid: damage at 20 m and 60 m does not change its picture."""
    copy = _harm(planet, tmp_path / "b.zarr", "S2L2A/20m", "S2L2A/60m")

    for path, name in ((planet, "a.png"), (copy, "b.png")):
        assert show.run(path, "0000000", out=tmp_path / name, composite=["true-color"]) == 0

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_show_draws_what_it_can_and_tells_the_rest(planet: Path, tmp_path: Path, caplog) -> None:
    """Status 1; the picture that is missing is named with the reason, its tile is gray, the others are drawn."""
    copy = _harm(planet, tmp_path / "b.zarr", "S2L2A/20m")
    out = tmp_path / "x.png"

    assert show.run(copy, "0000000", out=out, composite=["true-color", "swir"], modalities=["S2L2A"]) == 1

    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("not drawn: S2L2A of season 0, swir: ")
    assert "S2L2A/20m" in told
    sheet = np.asarray(Pillow.open(out))
    images = [open_archive(planet).read("S2L2A", location="0000000", season=s) for s in range(3)]
    limits = limits_of(images[1:], composite_of("S2L2A", images[1].form.bands, "swir"), "shared")
    tile = render(images[1], "swir", limits=limits, nodata="gray")
    (y,) = [y for y in range(sheet.shape[0] - 24) if np.array_equal(sheet[y : y + 24, 36:60], tile)]
    assert (sheet[y : y + 24, 6:30] == 128).all()


def test_show_of_nothing_that_can_be_drawn_is_an_error(planet: Path, tmp_path: Path) -> None:
    """No file of gray tiles."""
    copy = _harm(planet, tmp_path / "b.zarr", "S2L2A/10m")
    with pytest.raises(ShardCorrupt, match="S2L2A/10m"):
        show.run(copy, "0000000", out=tmp_path / "x.png", modalities=["S2L2A"], seasons=[0])
    assert not (tmp_path / "x.png").exists()


def test_steps_of_stored_values_are_those_that_pictures_show() -> None:
    """Two neighbouring stored numbers differ by one step, in DN and in 8 bits; floats have none."""
    eight = Form.gridded("S2L1C", scaling="uint8_10k")
    for form in (Form.native("S2L2A"), eight, Form.native("L8TOA"), Form.native("S2RGB")):
        band = form.bands[0]
        images = [_image(form, {band: value}, offset=1000 if form.dtype == "uint16" else 0) for value in (7, 8)]
        step, origin = steps_of(images[0], band)
        low, high = (float(physical(image, band)[0, 0]) for image in images)
        assert high - low == pytest.approx(step, rel=1e-3)
        assert (low - origin) / step == pytest.approx(7, abs=1e-2)
    assert steps_of(_image(Form.native("S1GRD"), {}), "VV") is None
