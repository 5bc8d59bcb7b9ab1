# SPDX-License-Identifier: Apache-2.0
"""WebDataset shards, read back with the webdataset library."""

from __future__ import annotations

import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from unpack_samples import native, tree, write_archive

from ssl4eo.contract import Contract
from ssl4eo.errors import ConfigInvalid
from ssl4eo.form import Form
from ssl4eo.unpacking.unpack import unpack


def read(paths: list[Path]) -> list[dict]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations
        webdataset = pytest.importorskip("webdataset")
        return list(webdataset.WebDataset([str(p) for p in paths], shardshuffle=False).decode())


def test_every_location_comes_back_with_pixels_masks_and_metadata(tmp_path: Path) -> None:
    """In order, types kept, native grids; labels, times, products, offsets and contracts as JSON."""
    archive = write_archive(
        tmp_path / "a.zarr", *native("S1GRD", "S2L1C"), num_locations=5, masks={"cover": False, "cloud": True}
    )

    unpack(archive, tmp_path / "out", layout="webdataset", shard_locations=2)

    shards = sorted((tmp_path / "out").glob("*.tar"))
    assert [p.name for p in shards] == [f"all-{i:06d}.tar" for i in range(3)]
    rows = read(shards)
    assert [row["__key__"] for row in rows] == list(archive.ids)
    for index, row in enumerate(rows):
        sample = archive.sample(index)
        about = row["json"]
        assert (about["id"], about["lon"], about["lat"]) == (sample.location.id, 5.25, 52.5)
        assert about["labels"] == dict(sample.labels)
        assert about["synthetic"] is True
        assert np.array_equal(row["mask_cover.npy"], sample.masks["cover"])
        assert np.array_equal(row["mask_cloud.npy"], sample.masks["cloud"])
        for name, images in sample.images.items():
            facts = about["modalities"][name]
            assert Form.from_json(facts["form"]) == images[0].form
            for season, image in enumerate(images):
                assert Contract.from_json(facts["contracts"][season]) == image.contract
                told = facts["seasons"][season]
                assert (told["time"], told["product"]) == (image.time.isoformat(), image.product)
                assert (tuple(told["transform"]), told["crs"]) == (image.transform, image.crs)
                assert (told["baseline"], told["offset"], told["valid"]) == (image.baseline, image.offset, image.valid)
                for resolution, pixels in image.pixels.items():
                    array = row[f"{name.lower()}_{resolution}m.npy"]
                    assert array.dtype == pixels.dtype
                    assert np.array_equal(array[season], pixels)


def test_one_modality_gives_its_name_and_chosen_seasons_only(tmp_path: Path) -> None:
    """Of seasonal masks too."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD", "S2L1C"), masks={"cloud": True})

    unpack(archive, tmp_path / "out", layout="webdataset", modalities=["S2L1C"], seasons=[1], ids=["0000002"])

    (row,) = read([tmp_path / "out/s2l1c-000000.tar"])
    assert row["s2l1c_60m.npy"].shape == (1, 3, 2, 3)
    assert np.array_equal(row["mask_cloud.npy"][0], archive.mask("cloud", location="0000002", season=1))
    assert "s1grd_10m.npy" not in row


def test_the_same_archive_gives_the_same_bytes(tmp_path: Path) -> None:
    """With any number of workers; members carry no time and no owner."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD"), num_locations=5)

    for name, workers in (("one", 1), ("two", 2)):
        unpack(archive, tmp_path / name, layout="webdataset", shard_locations=2, workers=workers)

    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    with tarfile.open(tmp_path / "one/s1grd-000001.tar") as tar:
        assert {(m.mtime, m.uid, m.uname, m.mode) for m in tar} == {(0, 0, "", 0o644)}


def test_an_id_with_a_dot_is_refused_or_renumbered(tmp_path: Path) -> None:
    """WebDataset would take what follows for a file type."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD"), name="lake.{}")

    with pytest.raises(ConfigInvalid, match=r"'lake\.0'; expected no dot"):
        unpack(archive, tmp_path / "out", layout="webdataset")
    unpack(archive, tmp_path / "out", layout="webdataset", renumber=True)

    rows = read([tmp_path / "out/s1grd-000000.tar"])
    assert [(r["__key__"], r["json"]["id"]) for r in rows] == [(f"{i:07d}", f"lake.{i}") for i in range(3)]


def test_shards_of_nothing_are_refused(tmp_path: Path) -> None:
    """One location at least."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD"))

    with pytest.raises(ConfigInvalid, match="shards of 0 locations"):
        unpack(archive, tmp_path / "out", layout="webdataset", shard_locations=0)
    with pytest.raises(ConfigInvalid, match="layout raw has no option shard_locations"):
        unpack(archive, tmp_path / "out", layout="raw", shard_locations=2)
