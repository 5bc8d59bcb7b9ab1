# SPDX-License-Identifier: Apache-2.0
"""What is written where nobody says, and that every remedy that is told works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from unpack_samples import changed, native, write_archive

from ssl4eo import eightbit
from ssl4eo.archive.reader import Archive
from ssl4eo.cli import main
from ssl4eo.errors import ConfigInvalid, ContractMismatch, TargetExists, UnknownName
from ssl4eo.form import Form
from ssl4eo.packing.archives import ArchiveSource
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import RGB
from ssl4eo.unpacking.unpack import unpack


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Three locations of all three published modalities, not to be changed."""
    return write_archive(tmp_path_factory.mktemp("a") / "a.zarr", *native("S1GRD", "S2L1C", "S2L2A"))


@pytest.mark.parametrize("inner", ["U", "S2L1C/deep/U", "link"])
def test_nothing_is_written_into_an_archive(archive: Archive, tmp_path: Path, inner: str) -> None:
    """Not by unpacking, not by packing, not through a link, not where its zarr.json is damaged."""
    copy = tmp_path / "copy.zarr"
    shutil.copytree(archive.path, copy)
    target = copy / inner
    if inner == "link":
        (tmp_path / "link").symlink_to(copy)
        target = tmp_path / "link/U"
    before = sorted(copy.rglob("*"))

    with pytest.raises(TargetExists, match=r"lies inside of the archive .*copy\.zarr"):
        unpack(archive, target, layout="raw")
    with pytest.raises(TargetExists, match="lies inside of the archive"):
        pack(ArchiveSource([archive.path]), target)
    (copy / "zarr.json").write_text("{")
    with pytest.raises(TargetExists, match="lies inside of the archive"):
        unpack(archive, target, layout="raw")

    assert sorted(copy.rglob("*")) == before


def test_a_folder_inside_of_any_other_zarr_group_is_free(archive: Archive, tmp_path: Path) -> None:
    """Only our archives are closed."""
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')

    assert unpack(archive, tmp_path / "out", layout="rgb-png").num_written == 3


def test_a_link_that_leads_nowhere_is_refused_at_the_start(archive: Archive, tmp_path: Path) -> None:
    """Before a location is read: the rename at the end would fail."""
    (tmp_path / "out").symlink_to(tmp_path / "gone")

    with pytest.raises(TargetExists, match="a link that leads nowhere"):
        unpack(archive, tmp_path / "out", layout="raw")
    with pytest.raises(TargetExists, match="exists"):
        pack(ArchiveSource([archive.path]), tmp_path / "out")

    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_numbers_are_found_as_7_digits_and_each_location_is_written_once(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the published list of 50,000 spells them, on the command line."""
    (tmp_path / "ids.txt").write_text("2\n1\n0000002\n2\n")

    with caplog.at_level("INFO"):
        arguments = ["--layout", "raw", "--modalities", "S2L1C", "--ids", str(tmp_path / "ids.txt")]
        assert main(["unpack", str(archive.path), str(tmp_path / "out"), *arguments]) == 0

    assert sorted(p.name for p in (tmp_path / "out/s2c").iterdir()) == ["0000001", "0000002"]
    assert "of 4 ids asked for, 2 repeat another" in caplog.text


@pytest.mark.parametrize(
    ("names", "folder"),
    [(("S1GRD", "S2L2A", "S2L1C"), "s2c"), (("S1GRD", "S2L2A"), "s2a"), (("S1GRD", "S2RGB"), "s2rgb")],
)
def test_pictures_are_of_the_published_modality_where_nobody_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], folder: str
) -> None:
    """S2L1C, else S2L2A, else S2RGB; what is left out is told."""
    forms = [Form.gridded(name) if name == "S2RGB" else Form.native(name) for name in names]
    mixed = write_archive(tmp_path / "a.zarr", *forms, change=changed(baseline=None))

    with caplog.at_level("INFO"):
        unpack(mixed, tmp_path / "out", layout="rgb-png")

    assert [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()] == [folder]
    assert "S1GRD" in caplog.text
    assert "left out" in caplog.text


def test_the_remedy_for_pictures_of_stored_bytes_works(tmp_path: Path) -> None:
    """They are written as they are; any other rule is refused with what to do."""
    quantized = write_archive(tmp_path / "q.zarr", Form.gridded("S2L1C", scaling="uint8_10k"))
    exact = write_archive(tmp_path / "e.zarr", *native("S2L1C"))

    with pytest.raises(ContractMismatch, match="give --modalities S2L1C --rule uint8_10k to"):
        unpack(quantized, tmp_path / "out", layout="rgb-png")
    unpack(quantized, tmp_path / "out", layout="rgb-png", modalities=["S2L1C"], rule="uint8_10k")

    image = quantized.read("S2L1C", location=1, season=0)
    with Picture.open(tmp_path / "out/s2c/0000001" / f"{image.product}.png") as picture:
        assert np.array_equal(np.asarray(picture), np.stack([image.band(band) for band in RGB], axis=-1))
    with pytest.raises(ConfigInvalid, match="leave out --rule"):
        unpack(exact, tmp_path / "no", layout="rgb-png", rule="uint8_10k")
    with pytest.raises(ConfigInvalid, match="give --rule uint8_10k"):
        unpack(quantized, tmp_path / "no", layout="rgb-png", rule="uint8_10k_wrapped")
    with pytest.raises(UnknownName, match="foo"):
        unpack(quantized, tmp_path / "no", layout="rgb-png", rule="foo")
    assert not (tmp_path / "no").exists()


def test_the_remedy_works_where_modalities_are_stored_by_different_rules(tmp_path: Path) -> None:
    """One rule cannot fit both: the remedy names the modality with it."""
    rounded = "uint8_sigma2:published_rounded"
    forms = (Form.gridded("S1GRD", scaling=rounded), Form.gridded("S2L1C", scaling="uint8_10k_wrapped"))
    mixed = write_archive(tmp_path / "a.zarr", *forms)

    with pytest.raises(ContractMismatch, match=f"give --modalities S1GRD --rule {rounded}"):
        unpack(mixed, tmp_path / "out", layout="uint8-geotiff", rule="uint8_10k_wrapped")

    assert unpack(mixed, tmp_path / "out", layout="uint8-geotiff", modalities=["S1GRD"], rule=rounded).num_written == 3


@pytest.mark.parametrize(
    ("layout", "modalities", "rule", "expected"),
    [
        ("lmdb", ["S2L1C"], None, {"S2L1C": "uint8_10k"}),
        ("lmdb", ["S1GRD"], None, {"S1GRD": "uint8_sigma2:published_50k"}),
        ("lmdb", ["S2L1C"], "none", {"S2L1C": "none"}),
        ("lmdb", None, None, {"S1GRD": "none", "S2L1C": "none", "S2L2A": "none"}),
        ("uint8-geotiff", ["S1GRD", "S2L1C"], None, {"S1GRD": "uint8_sigma2:published_50k", "S2L1C": "uint8_10k"}),
        ("rgb-png", None, None, {"S2L1C": "uint8_sigma2:published_rounded"}),
    ],
)
def test_the_rule_that_was_used_is_noted(
    archive: Archive, tmp_path: Path, layout: str, modalities: list[str] | None, rule: str | None, expected: object
) -> None:
    """Asked for or not, of each modality."""
    if layout == "lmdb":
        pytest.importorskip("lmdb")

    unpack(archive, tmp_path / "out", layout=layout, modalities=modalities, rule=rule)

    assert json.loads((tmp_path / "out/unpack.json").read_text())["options"] == {"rules": expected}


@pytest.mark.parametrize("layout", ["lmdb", "uint8-geotiff"])
@pytest.mark.parametrize("rule", ["foo", "uint8_sigma2", "uint8_sigma2:foo", "uint8_10k:published_50k"])
def test_what_is_no_rule_is_answered_with_all_rules_in_full(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, rule: str
) -> None:
    """As an argument that cannot be, with exit status 2."""
    arguments = ["--layout", layout, "--modalities", "S2L1C", "--rule", rule]

    assert main(["unpack", str(archive.path), str(tmp_path / "out"), *arguments]) == 2

    told = " ".join(capsys.readouterr().err.split())
    assert f"no 8-bit rule is called '{rule}'" in told
    assert "uint8_10k, uint8_10k_wrapped, uint8_sigma2:published_50k, " in told
    assert not (tmp_path / "out").exists()


def test_every_rule_that_is_listed_can_be_used() -> None:
    """By one modality at least."""
    values = np.ones((1, 2, 2), np.uint16)
    for scaling in eightbit.spellings():
        eightbit.require_rule(scaling)
        name = scaling.partition(":")[2]
        able = [m for m in ("S1GRD", "S2L1C", "S2L2A") if not name or name in eightbit.known_modality(m).statistics]
        band = Form.native(able[0]).bands[0]
        assert eightbit.quantize(values, scaling, able[0], [band]).dtype == np.uint8


def test_a_rounding_step_that_nothing_is_rounded_by_is_refused(archive: Archive, tmp_path: Path) -> None:
    """Sentinel-2 alone; together with radar it is the radar's."""
    with pytest.raises(ConfigInvalid, match="S2L1C as uint16; expected a modality of float32"):
        pack(ArchiveSource([archive.path], modalities=["S2L1C"]), tmp_path / "b.zarr", s1_step=0.015625)
    assert not list(tmp_path.iterdir())

    assert pack(ArchiveSource([archive.path]), tmp_path / "b.zarr", s1_step=0.015625).num_stored == 3
