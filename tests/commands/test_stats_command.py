# SPDX-License-Identifier: Apache-2.0
"""stats shows what was measured beside what is published; verify writes lists; info and pack warn."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import pytest

from ssl4eo.archive import checksums
from ssl4eo.archive.reader import open_archive
from ssl4eo.commands import collect, info, stats, verify
from ssl4eo.commands.pack import show
from ssl4eo.errors import ArchiveInvalid, ConfigInvalid
from ssl4eo.packing.pack import PackReport
from ssl4eo.sensors import statistics as published


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic archive made by the command; not to be changed."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    assert collect.run(out=path, num_locations=3, size=24, num_seasons=2, modalities=("S1GRD", "S2L1C")) == 0
    return path


@pytest.fixture
def copy(planet: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(planet, tmp_path / "copy.zarr"))


def _edit_statistics(archive: Path, modality: str, change) -> None:
    """Change what is stored, in both places, and let the checksums fit."""
    for name in (f"{modality}/zarr.json", "zarr.json"):
        data = json.loads((archive / name).read_text())
        node = data if name != "zarr.json" else data["consolidated_metadata"]["metadata"][modality]
        change(node["attributes"])
        (archive / name).write_text(json.dumps(data))
    checksums.write(archive, checksums.load(archive))


def test_every_band_is_shown_beside_the_published_figures(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Means of the archive, of three publications, and the differences."""
    assert stats.run(planet, json=True) == 0

    facts = json.loads(capsys.readouterr().out)
    row = facts["modalities"]["S2L1C"]
    figures = open_archive(planet).statistics("S2L1C")
    assert list(row["published"]) == ["published_50k", "published_rounded", "v1.1"]
    for source, table in row["published"].items():
        for band, beside in table.items():
            assert beside["mean"] == published("S2L1C", source).mean[band]
            assert beside["mean_difference"] == figures.bands[band].mean - beside["mean"]
    assert (facts["measured"], facts["differences"], row["offset"]) == (False, [], 0)


def test_text_has_a_histogram_for_each_band(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bars, names and where the figures come from."""
    assert stats.run(planet) == 0

    out = capsys.readouterr().out
    assert "measured when it was packed" in out
    for word in ("S1GRD", "S2L1C", "B8A", "VH", "\u2588", "published"):
        assert word in out


def test_measuring_again_agrees_in_any_number_of_processes(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 with one and with two."""
    assert stats.run(planet, recompute=True, json=True) == 0
    first = json.loads(capsys.readouterr().out)
    assert stats.run(planet, recompute=True, workers=2, json=True) == 0

    assert json.loads(capsys.readouterr().out) == first
    assert first["measured"]


@pytest.mark.parametrize(
    ("modality", "key", "value"), [("S2L1C", "count", 7), ("S1GRD", "mean", -12.0), ("S2L1C", "histogram", [0] * 128)]
)
def test_figures_that_do_not_fit_the_pixels_are_found(
    copy: Path, capsys: pytest.CaptureFixture[str], modality: str, key: str, value: object
) -> None:
    """Exit status 1 and both values; without --recompute they are shown as stored."""
    band = "B03" if modality == "S2L1C" else "VV"
    _edit_statistics(copy, modality, lambda a: a["statistics"][band].update({key: value}))

    assert stats.run(copy, recompute=True) == 1
    assert re.search(rf"DIFFERS: {modality} {band} {key}: stored .* measured", capsys.readouterr().out)
    assert stats.run(copy) == 0


def test_an_archive_without_figures_is_measured(copy: Path, planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows what the other has stored."""
    _edit_statistics(copy, "S2L1C", lambda a: a.update(statistics=None))

    assert stats.run(copy, json=True) == 0
    found = json.loads(capsys.readouterr().out)
    stats.run(planet, json=True)
    wanted = json.loads(capsys.readouterr().out)

    assert found["measured"]
    assert found["modalities"]["S2L1C"] == wanted["modalities"]["S2L1C"]


def test_bytes_are_not_compared_with_digital_numbers() -> None:
    """Published figures are of values that no 8-bit rule has changed."""
    from ssl4eo.form import Form

    assert stats.published(Form.gridded("S2L1C", scaling="uint8_10k")) == {}
    assert set(stats.published(Form.gridded("S2RGB"))) == {"v1.1"}


@pytest.mark.parametrize("histogram", [[0] * 128, [1], [0, 5, 0], list(range(128)), [1, *[0] * 126, 10**9]])
def test_a_sparkline_is_of_one_width_and_shows_every_pixel(histogram: list[int]) -> None:
    """The first and the last bin that hold anything are seen, however few pixels they hold."""
    line = stats.sparkline(histogram)

    if not any(histogram):
        assert line == ""
        return
    assert len(line) == stats.WIDTH
    assert " " not in (line[0], line[-1])


def _shift(copy: Path) -> None:
    """Make the stored figures those of values with an offset."""

    def change(attributes: dict) -> None:
        for row in attributes["statistics"].values():
            row["mean"] += 1000
            row["quantiles"] = {level: value + 1000 for level, value in row["quantiles"].items()}

    _edit_statistics(copy, "S2L1C", change)


def test_what_looks_wrong_is_told_by_info_stats_and_pack(
    copy: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One line, on stdout where facts are shown and in the log where something was packed."""
    _shift(copy)

    info.run(copy)
    assert "warning: S2L1C: no band has a 1st percentile below" in capsys.readouterr().out.replace("\n", " ")
    info.run(copy, json=True)
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1
    stats.run(copy)
    assert "warning: S2L1C" in capsys.readouterr().out
    with caplog.at_level(logging.WARNING):
        show(PackReport(copy, 3, 0, {}), json=True)
    assert json.loads(capsys.readouterr().out)["stored"] == 3
    assert "--offset 1000" in caplog.text


def test_verify_writes_the_ids_that_can_be_used(copy: Path, tmp_path: Path) -> None:
    """Also for a whole archive; the damaged location is missing from the list."""
    ids = open_archive(copy).ids
    listed = tmp_path / "lists/good.txt"

    assert verify.run(copy, drop=listed) == 0
    assert listed.read_text().split("\n") == [*ids, ""]
    shard = copy / "S2L1C/10m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    assert verify.run(copy, drop=listed, workers=2) == 1

    assert listed.read_text().split("\n") == [*ids[1:], ""]


def test_verify_writes_no_list_where_everything_is_hurt(copy: Path, tmp_path: Path) -> None:
    """The list that was there stays."""
    (tmp_path / "good.txt").write_text("mine\n")
    (copy / "locations.parquet").write_bytes(b"")

    with pytest.raises(ArchiveInvalid, match=r"locations\.parquet"):
        verify.run(copy, drop=tmp_path / "good.txt")

    assert (tmp_path / "good.txt").read_text() == "mine\n"


def test_verify_checks_conformance(planet: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0 with all checks listed, 1 with the ones that failed."""
    assert verify.run(planet, conformance=True, full=True) == 0
    assert "conforms; 25 checks" in capsys.readouterr().out
    (copy / "shards.json").unlink()

    assert verify.run(copy, conformance=True) == 1
    assert "FAILED  shards_listed" in capsys.readouterr().out
    assert verify.run(copy, conformance=True, json=True) == 1
    assert {"name", "passed", "evidence"} == set(json.loads(capsys.readouterr().out)[0])


def test_options_of_two_ways_to_verify_are_not_mixed(planet: Path, tmp_path: Path) -> None:
    """Each says what goes with what."""
    for options in ({"conformance": True, "drop": tmp_path / "x"}, {"conformance": True, "workers": 2}, {"full": True}):
        with pytest.raises(ConfigInvalid, match="conformance"):
            verify.run(planet, **options)
