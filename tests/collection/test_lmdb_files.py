# SPDX-License-Identifier: Apache-2.0
"""LMDB files of the reference: every variant comes back as written, everything else is refused."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.lmdb_files import LmdbFile, is_lmdb
from ssl4eo.errors import ConfigInvalid, LocationMissing, SourceInvalid, UnknownName
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack

CHANNELS = {"S1GRD": 2, "S2L2A": 12, "S2L1C": 13}
SIGMA2 = "uint8_sigma2:published_50k"


def write_lmdb(path: Path, entries: dict[str, Any], *, subdir: bool = True) -> Path:
    """Write values, pickled unless they are bytes, under their keys."""
    with lmdb.open(str(path), subdir=subdir, map_size=2**26) as environment, environment.begin(write=True) as writer:
        for key, value in entries.items():
            writer.put(key.encode(), value if isinstance(value, bytes) else pickle.dumps(value))
    return path


def draw(name: str, dtype: str, seed: int = 0, size: int = 12) -> np.ndarray:
    """Make values (4, band, y, x) in the type that the reference writes."""
    rng = np.random.default_rng(seed)
    shape = (4, CHANNELS[name], size, size)
    if dtype == "float32":
        return rng.normal(-12, 5, shape).astype("f4")
    return rng.integers(0, 65_536 if dtype == "uint16" else 256, shape).astype(dtype)


def pair(values: np.ndarray) -> tuple[bytes, tuple[int, ...]]:
    """Give the bytes and the shape of an array, uint16 cast to int16 as the reference does."""
    stored = values.astype(np.int16) if values.dtype == np.uint16 else values
    return stored.tobytes(), stored.shape


def _stacked(source: LmdbFile, location: str, name: str) -> np.ndarray:
    return np.stack([image.pixels[10] for image in source.read(location).images[name]])


@pytest.mark.parametrize(
    ("name", "dtype", "scaling"),
    [
        ("S1GRD", "float32", "none"),
        ("S1GRD", "uint8", SIGMA2),
        ("S2L2A", "uint16", "none"),
        ("S2L2A", "uint8", "uint8_10k_wrapped"),
        ("S2L1C", "uint16", "none"),
        ("S2L1C", "uint8", "uint8_10k_wrapped"),
    ],
)
def test_one_modality_comes_back_as_written(tmp_path: Path, name: str, dtype: str, scaling: str) -> None:
    """Modality and type follow from shape and size; values are the same, 40,000 DN too."""
    entries = {str(i): draw(name, dtype, i) for i in range(3)}
    path = write_lmdb(tmp_path / "a.lmdb", {key: pair(v) for key, v in entries.items()})

    source = LmdbFile(path)

    (form,) = source.forms
    assert (form.modality, form.dtype, form.scaling, form.resolutions) == (name, dtype, scaling, (10,))
    assert (source.num_seasons, source.shape) == (4, (12, 12))
    for key, values in entries.items():
        np.testing.assert_array_equal(_stacked(source, f"{key:0>7}", name), values)


@pytest.mark.parametrize(
    ("dtypes", "rule"),
    [
        (("float32", "uint16", "uint16"), None),
        (("uint8", "uint8", "uint8"), None),
        (("uint8", "uint8", "uint8"), SIGMA2),
    ],
)
def test_three_modalities_come_back_as_written(tmp_path: Path, dtypes: tuple[str, ...], rule: str | None) -> None:
    """In the order s1, s2a, s2c; the rule of 8-bit Sentinel-2 is as told, that of Sentinel-1 always the same."""
    values = [draw(name, dtype, i) for i, (name, dtype) in enumerate(zip(CHANNELS, dtypes, strict=True))]
    path = write_lmdb(tmp_path / "a.lmdb", {"0": sum((pair(v) for v in values), ())})

    source = LmdbFile(path, rule=rule)

    assert [form.modality for form in source.forms] == ["S1GRD", "S2L1C", "S2L2A"]
    for name, written in zip(CHANNELS, values, strict=True):
        np.testing.assert_array_equal(_stacked(source, "0000000", name), written)
    if dtypes[0] == "uint8":
        assert [form.scaling for form in source.forms] == [SIGMA2, *[rule or "uint8_10k_wrapped"] * 2]
        assert str(source.provenance.details["rule"]).startswith(rule or "uint8_10k_wrapped")


def test_one_of_three_modalities_can_be_chosen(tmp_path: Path) -> None:
    """The others are not read; one that is not there is refused."""
    values = [draw(name, "uint8") for name in CHANNELS]
    path = write_lmdb(tmp_path / "a.lmdb", {"0": sum((pair(v) for v in values), ())})

    assert list(LmdbFile(path, modalities=["S2L2A"]).read("0000000").images) == ["S2L2A"]
    with pytest.raises(UnknownName, match="S2RGB"):
        LmdbFile(path, modalities=["S2RGB"])
    with pytest.raises(ConfigInvalid, match="no modality"):
        LmdbFile(path, modalities=[])


def test_ids_are_in_order_of_number_not_of_spelling(tmp_path: Path) -> None:
    """The file has 0, 1, 10, 11, 2; the key is kept as a label."""
    values = draw("S1GRD", "uint8")
    path = write_lmdb(tmp_path / "a.lmdb", {str(i): pair(values) for i in range(12)})

    source = LmdbFile(path)

    assert source.ids() == [f"{i:07d}" for i in range(12)]
    assert source.read("0000010").labels == {"lmdb_key": "10"}
    assert source.read("0000010").location.lon is None


def test_a_single_file_is_read_like_a_folder(tmp_path: Path) -> None:
    """LMDB's subdir=False; both are told by their names."""
    values = draw("S2L1C", "uint8")
    single = write_lmdb(tmp_path / "single.lmdb", {"0": pair(values)}, subdir=False)
    folder = write_lmdb(tmp_path / "folder", {"0": pair(values)})

    for path in (single, folder, folder / "data.mdb"):
        assert is_lmdb(path)
        np.testing.assert_array_equal(_stacked(open_source(path), "0000000", "S2L1C"), values)
    assert not is_lmdb(tmp_path)


def test_the_rule_is_logged_and_refused_where_it_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """8-bit Sentinel-2 is ambiguous, everything else is not."""
    quantized = write_lmdb(tmp_path / "a.lmdb", {"0": pair(draw("S2L1C", "uint8"))})
    raw = write_lmdb(tmp_path / "b.lmdb", {"0": pair(draw("S2L1C", "uint16"))})

    with caplog.at_level(logging.INFO):
        LmdbFile(quantized)

    assert "uint8_10k_wrapped" in caplog.text
    assert "rule" not in LmdbFile(raw).provenance.details
    with pytest.raises(ConfigInvalid, match="not 8-bit"):
        LmdbFile(raw, rule=SIGMA2)
    with pytest.raises(UnknownName, match="uint8_20k"):
        LmdbFile(quantized, rule="uint8_20k")


GOOD = pair(draw("S1GRD", "uint8"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ((GOOD[0][:-1], GOOD[1]), "bytes for S1GRD"),
        ((GOOD[0] * 2, GOOD[1]), "bytes for S1GRD"),
        ((GOOD[0] * 8, GOOD[1]), "bytes for S1GRD"),
        ((b"", GOOD[1]), "0 bytes"),
        ((GOOD[0], (4, 3, 12, 12)), "shape"),
        ((GOOD[0], (4, 2, 12)), "shape"),
        ((GOOD[0], (4, 2, -12, -12)), "shape"),
        ((GOOD[0], (4, 2, 0, 12)), "shape"),
        ((GOOD[0], (4, 2, 2**40, 12)), "shape"),
        ((GOOD[0], (4, 2, (12,), 12)), "nested|shape"),
        ((GOOD[1], GOOD[0]), "other things"),
        ((GOOD[0],), "a tuple of 1"),
        (GOOD * 2, "a tuple of 4"),
        (GOOD * 3, "shape"),
        ((*GOOD, *pair(draw("S2L1C", "uint8")), *pair(draw("S2L2A", "uint8"))), "shape"),
        ((*GOOD, *pair(draw("S2L2A", "uint8", size=6)), *pair(draw("S2L1C", "uint8"))), "the same seasons"),
        ([GOOD], "LIST"),
        ("text", "UNICODE"),
        (b"garbage", "pickle"),
        (b"", "ends after 0 bytes"),
    ],
)
def test_entries_of_another_kind_are_refused(tmp_path: Path, value: Any, reason: str) -> None:
    """As the first entry the file is refused; later ones are left out by themselves."""
    with pytest.raises(SourceInvalid, match=reason):
        LmdbFile(write_lmdb(tmp_path / "a.lmdb", {"0": value}))

    later = LmdbFile(write_lmdb(tmp_path / "b.lmdb", {"0": GOOD, "1": value, "2": GOOD}))
    with pytest.raises(SourceInvalid, match=f"entry 1.*({reason})"):
        later.read("0000001")
    assert later.read("0000002").num_seasons == 4


@pytest.mark.parametrize(
    "other",
    [draw("S1GRD", "float32"), draw("S1GRD", "uint8", size=6), draw("S2L1C", "uint8"), draw("S1GRD", "uint8")[:3]],
)
def test_an_entry_unlike_the_first_is_refused(tmp_path: Path, other: np.ndarray) -> None:
    """Another type, size, modality or number of seasons."""
    source = LmdbFile(write_lmdb(tmp_path / "a.lmdb", {"0": GOOD, "1": pair(other)}))

    with pytest.raises(SourceInvalid, match="as the first entry"):
        source.read("0000001")


@pytest.mark.parametrize("key", ["abc", "01", "-1", "1 ", "__len__"])
def test_keys_that_are_no_numbers_are_refused(tmp_path: Path, key: str) -> None:
    """Another tool's file, or a database of databases."""
    path = write_lmdb(tmp_path / "a.lmdb", {"0": GOOD, key: GOOD})

    with pytest.raises(SourceInvalid, match="decimal numbers"):
        LmdbFile(path).ids()


def test_a_foreign_key_alone_is_refused(tmp_path: Path) -> None:
    """It is read for the form before the keys are listed; the id is still unknown then."""
    source = LmdbFile(write_lmdb(tmp_path / "a.lmdb", {"0": GOOD}))

    with pytest.raises(LocationMissing, match="0000001"):
        source.read("0000001")


def test_files_that_are_no_lmdb_are_refused(tmp_path: Path) -> None:
    """Empty, somebody else's, without entries, or cut short: nothing is mapped past the end."""
    (tmp_path / "empty.lmdb").write_bytes(b"")
    (tmp_path / "text.lmdb").write_bytes(b"hello" * 10_000)
    write_lmdb(tmp_path / "none.lmdb", {})
    whole = write_lmdb(tmp_path / "cut.lmdb", {str(i): pair(draw("S1GRD", "float32", i)) for i in range(9)})
    os.truncate(whole / "data.mdb", (whole / "data.mdb").stat().st_size // 2)

    for name, reason in (("empty", "cannot be read"), ("text", "cannot be read"), ("none", "no entry")):
        with pytest.raises(SourceInvalid, match=reason):
            LmdbFile(tmp_path / f"{name}.lmdb")
    with pytest.raises(SourceInvalid, match="as its header says"):
        LmdbFile(whole)


class Shell:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what unpickling shall call."""
        return os.system, (f"touch {self.marker}",)


def test_a_program_among_the_entries_is_left_out_and_not_run(tmp_path: Path) -> None:
    """Packing goes on with two workers, each with the file open by itself; the archive holds the same values."""
    marker = tmp_path / "run"
    values = {str(i): draw("S2L1C", "uint8", i) for i in range(20)}
    entries: dict[str, Any] = {key: pair(v) for key, v in values.items()}
    entries["7"] = (b"x", Shell(marker))
    source = open_source(write_lmdb(tmp_path / "a.lmdb", entries))
    assert isinstance(source, LmdbFile)

    report = pack(source, tmp_path / "a.zarr", workers=2)

    archive = open_archive(tmp_path / "a.zarr")
    assert not marker.exists()
    assert list(report.skipped) == ["0000007"]
    assert "the pickle instruction SHORT_BINUNICODE" in report.skipped["0000007"]
    assert archive.contract("S2L1C").scaling == "uint8_10k_wrapped"
    assert archive.labels("lmdb_key").tolist() == [str(i) for i in range(20) if i != 7]
    for key, written in values.items():
        if key != "7":
            images = archive.sample(f"{key:0>7}").images["S2L1C"]
            np.testing.assert_array_equal(np.stack([image.pixels[10] for image in images]), written)
