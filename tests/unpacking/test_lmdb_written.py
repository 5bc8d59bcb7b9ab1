# SPDX-License-Identifier: Apache-2.0
"""The LMDB, read as the reference's loader reads it: get, loads, frombuffer, reshape."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from unpack_samples import changed, native, write_archive

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import ConfigInvalid, ContractMismatch, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sensors import statistics
from ssl4eo.unpacking.lmdb import map_size
from ssl4eo.unpacking.unpack import unpack
from ssl4eo.unpacking.values import upsample_exact

cv2 = pytest.importorskip("cv2")
lmdb = pytest.importorskip("lmdb")


def read(path: Path, index: int, dtypes: list[str]) -> list[np.ndarray]:
    """Read an entry as documented: a tuple of bytes and shape for each modality."""
    base = lmdb.open(str(path), max_readers=1, readonly=True, lock=False, readahead=False, meminit=False)
    with base, base.begin(write=False) as transaction:
        entry = pickle.loads(transaction.get(str(index).encode()))
    return [
        np.frombuffer(data, dtype).reshape(shape)
        for data, shape, dtype in zip(entry[::2], entry[1::2], dtypes, strict=True)
    ]


def count(path: Path) -> int:
    with lmdb.open(str(path), readonly=True, lock=False) as base:
        return base.stat()["entries"]


def upsampled(archive: Archive, name: str, location: int, season: int) -> np.ndarray:
    """Do as the reference: OpenCV's exact bilinear on every band, before anything else."""
    image = archive.read(name, location=location, season=season)
    size = archive.shape[::-1]
    return np.stack([cv2.resize(image.band(b), size, interpolation=cv2.INTER_LINEAR_EXACT) for b in image.form.bands])


@pytest.mark.parametrize("factor", [1, 2, 3, 6])
@pytest.mark.parametrize("high", [300, 10_001, 65_536])
def test_upsampling_is_opencvs_bit_for_bit(factor: int, high: int) -> None:
    """On random images of several sizes, the whole range of uint16 included."""
    rng = np.random.default_rng(factor)
    for shape in ((1, 1), (2, 3), (44, 22)):
        image = rng.integers(0, high, shape).astype("u2")
        expected = cv2.resize(image, (shape[1] * factor, shape[0] * factor), interpolation=cv2.INTER_LINEAR_EXACT)
        assert np.array_equal(upsample_exact(image[None], factor)[0], expected)


def test_eight_bits_are_what_the_published_file_holds_but_clipped(tmp_path: Path) -> None:
    """Every location once, in order; trunc(min(x / 10000, 1) 255) of the upsampled values."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C"), num_locations=20)

    unpack(archive, tmp_path / "x.lmdb", layout="lmdb")

    assert count(tmp_path / "x.lmdb") == 20
    for index in (0, 7, 19):
        (found,) = read(tmp_path / "x.lmdb", index, ["u1"])
        assert found.shape == (2, 13, *archive.shape)
        for season in (0, 1):
            values = upsampled(archive, "S2L1C", index, season).astype("f8")
            assert np.array_equal(found[season], np.minimum(values / 10_000 * 255, 255).astype("u1"))
    with (tmp_path / "x.lmdb/ids.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [["index", "id"], *([str(i), f"{i:07d}"] for i in range(20))]


def test_the_published_wrap_is_there_for_who_asks(tmp_path: Path) -> None:
    """10,040 DN becomes 0, as in the file that the published networks saw."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L2A"), num_locations=1)

    unpack(archive, tmp_path / "x.lmdb", layout="lmdb", rule="uint8_10k_wrapped")

    (found,) = read(tmp_path / "x.lmdb", 0, ["u1"])
    values = upsampled(archive, "S2L2A", 0, 1).astype("f8")
    assert np.array_equal(found[1], ((values / 10_000 * 255).astype("i8") % 256).astype("u1"))


@pytest.mark.parametrize("name", ["S1GRD", "S2L1C"])
def test_normalized_bytes_are_two_deviations(tmp_path: Path, name: str) -> None:
    """Also what Sentinel-1 gets without asking; statistics of the 50,000 locations."""
    archive = write_archive(tmp_path / "a.zarr", *native(name), num_locations=1)
    rule = "uint8_sigma2:published_50k" if name != "S1GRD" else None

    unpack(archive, tmp_path / "x.lmdb", layout="lmdb", rule=rule)

    (found,) = read(tmp_path / "x.lmdb", 0, ["u1"])
    table = statistics(name, "published_50k")
    values = upsampled(archive, name, 0, 0)
    for plane, value, band in zip(found[0], values, archive.form(name).bands, strict=True):
        low, width = table.mean[band] - 2 * table.std[band], 4 * table.std[band]
        expected = np.clip((value - low) / width * 255, 0, 255).astype("u1")
        assert np.abs(plane.astype(int) - expected).max() <= 1
        assert (plane == expected).mean() > 0.99  # the order of operations may tip a truncation


def test_three_modalities_are_one_tuple_in_the_references_order(tmp_path: Path) -> None:
    """s1 float32, s2a and s2c int16, whatever the order in the archive; no value turns negative."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C", "S1GRD", "S2L2A"), num_locations=2)

    unpack(archive, tmp_path / "x.lmdb", layout="lmdb", seasons=[1])

    s1, s2a, s2c = read(tmp_path / "x.lmdb", 1, ["f4", "i2", "i2"])
    assert (s1.shape, s2a.shape, s2c.shape) == tuple((1, c, *archive.shape) for c in (2, 12, 13))
    assert np.array_equal(s1[0], upsampled(archive, "S1GRD", 1, 1))
    for found, name in ((s2a, "S2L2A"), (s2c, "S2L1C")):
        values = upsampled(archive, name, 1, 1)
        assert values.max() > 32_767
        assert np.array_equal(found[0], np.minimum(values, 32_767).astype("i2"))


def test_the_offset_is_taken_away_since_nothing_could_tell_it(tmp_path: Path) -> None:
    """The loader divides by 10,000 and knows of no offset."""
    archive = write_archive(
        tmp_path / "a.zarr", Form.gridded("S2L1C"), num_locations=1, change=changed(offset=1000, baseline=510)
    )

    unpack(archive, tmp_path / "x.lmdb", layout="lmdb", rule="none")

    (found,) = read(tmp_path / "x.lmdb", 0, ["i2"])
    values = archive.read("S2L1C", location=0, season=0).pixels[10].astype(int)
    assert np.array_equal(found[0], (values - 1000).clip(0, 32_767))


@pytest.mark.parametrize("rule", [None, "none"])
def test_pictures_are_written_as_they_are(tmp_path: Path, rule: str | None) -> None:
    """Bytes stay bytes whatever the rule."""
    archive = write_archive(tmp_path / "a.zarr", Form.gridded("S2RGB"), change=changed(baseline=None))

    unpack(archive, tmp_path / "x.lmdb", layout="lmdb", rule=rule)

    (found,) = read(tmp_path / "x.lmdb", 2, ["u1"])
    assert np.array_equal(found[1], archive.read("S2RGB", location=2, season=1).pixels[10])


def test_what_the_loader_cannot_read_is_refused(tmp_path: Path) -> None:
    """Two modalities, three in 8 bits, bytes as 16 bits, bytes of another rule, radar by the rule of DN."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C", "S1GRD", "S2L2A"))
    quantized = write_archive(tmp_path / "q.zarr", Form.gridded("S2L1C", scaling="uint8_10k"))
    out = tmp_path / "x.lmdb"

    with pytest.raises(ConfigInvalid, match="one, or exactly S1GRD, S2L2A, S2L1C"):
        unpack(archive, out, layout="lmdb", modalities=["S1GRD", "S2L1C"])
    with pytest.raises(ConfigInvalid, match="give --rule none"):
        unpack(archive, out, layout="lmdb", rule="uint8_10k")
    with pytest.raises(ConfigInvalid, match="give --rule uint8_10k"):
        unpack(quantized, out, layout="lmdb", rule="none")
    with pytest.raises(ContractMismatch, match="stored in 8 bits by uint8_10k"):
        unpack(quantized, out, layout="lmdb", rule="uint8_10k_wrapped")
    with pytest.raises(ConfigInvalid, match="layout lmdb has no option renumber; it has rule"):
        unpack(quantized, out, layout="lmdb", renumber=True)
    assert not out.exists()


def test_the_map_has_room_for_all_values_and_not_for_many_times_more() -> None:
    """All of SSL4EO-S12 as int16 does not fit into the reference's 2^40 bytes; here it does."""
    value = 4 * 13 * 264 * 264 * 2
    everything = 251_079 * value

    assert everything > 2**40
    assert everything * 1.05 < map_size(251_079, value) < everything * 1.2


def test_ids_that_do_not_fit_the_entries_are_refused(tmp_path: Path) -> None:
    """An index that leads to the wrong place is worse than none."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD"), num_locations=20)
    unpack(archive, tmp_path / "x.lmdb", layout="lmdb")
    (tmp_path / "x.lmdb/ids.csv").write_text("index,id\n0,0000000\n")

    with pytest.raises(SourceInvalid, match="does not list the 20 entries"):
        unpack(archive, tmp_path / "x.lmdb", layout="lmdb")
