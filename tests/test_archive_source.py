# SPDX-License-Identifier: Apache-2.0
"""Archives as sources: joined by id, cut to a list, packed anew, with everything that belongs to a location."""

import logging
import pickle
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "archive"))
from archive_samples import flip, make_sample, same_image, write_archive

from ssl4eo.archive.reader import open_archive
from ssl4eo.commands import pack as command
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, UnknownName
from ssl4eo.form import Form
from ssl4eo.packing.archives import ArchiveSource, is_archive
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Location, Provenance, Sample


def _samples(numbers: Iterable[int], modality: str, **changes: Any) -> list[Sample]:
    return [make_sample(number, modalities=[modality], **changes) for number in numbers]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two archives of different modalities that share locations 2, 3 and 4."""
    radar = write_archive(tmp_path / "radar.zarr", _samples(range(5), "S1GRD"), modalities=["S1GRD"])
    optical = write_archive(
        tmp_path / "optical.zarr",
        _samples(range(2, 7), "S2L1C", masks=["cover"], offset=1000),
        modalities=["S2L1C"],
        masks=["cover"],
        provenance=Provenance("real", synthetic=False, licence="CC-BY-4.0", details={"root": "x"}),
    )
    return radar, optical


def test_archives_are_joined_by_id_and_the_rest_is_in_the_ledger(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """What one of them lacks is left out, with its name; pixels, masks and labels of the rest are the same."""
    source = open_source(*pair)
    assert isinstance(source, ArchiveSource)

    report = pack(source, tmp_path / "joined.zarr", workers=2)

    joined, radar, optical = (open_archive(path) for path in (tmp_path / "joined.zarr", *pair))
    assert joined.ids == ("0000002", "0000003", "0000004")
    assert {name: reason.split(";")[0] for name, reason in report.skipped.items()} == {
        "0000000": "location 0000000 is not in optical.zarr",
        "0000001": "location 0000001 is not in optical.zarr",
        "0000005": "location 0000005 is not in radar.zarr",
        "0000006": "location 0000006 is not in radar.zarr",
    }
    for location in joined.ids:
        sample = joined.sample(location)
        for archive in (radar, optical):
            before = archive.sample(location)
            assert sample.labels == before.labels
            assert sample.location == before.location
            for name, images in before.images.items():
                assert all(same_image(a, b) for a, b in zip(images, sample.images[name], strict=True))
        np.testing.assert_array_equal(sample.masks["cover"], optical.mask("cover", location=location))
    assert joined.contract("S2L1C").offset == 1000


def test_provenance_names_the_sources_and_synthetic_stays_synthetic(pair: tuple[Path, Path]) -> None:
    """One synthetic archive makes the whole synthetic; both licences and all details are told."""
    provenance = ArchiveSource(pair).provenance

    assert provenance.synthetic
    assert provenance.title == "tiny + real"
    assert provenance.licence == "CC0-1.0; CC-BY-4.0"
    assert provenance.details == {"archives": "radar.zarr, optical.zarr", "1.seed": 7, "2.root": "x"}
    alone = ArchiveSource([pair[1]]).provenance
    assert (alone.synthetic, alone.details) == (False, {"archives": "optical.zarr", "root": "x"})


def test_an_archive_packed_anew_is_the_same(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Every file but those that tell the provenance and the time."""
    pack(ArchiveSource([pair[1]]), tmp_path / "again.zarr")

    told = {"zarr.json", "checksums.json"}
    files = [str(p.relative_to(pair[1])) for p in pair[1].rglob("*") if p.is_file()]
    assert sorted(files) == sorted(
        str(p.relative_to(tmp_path / "again.zarr")) for p in (tmp_path / "again.zarr").rglob("*") if p.is_file()
    )
    for name in set(files) - told:
        if "statistics" not in name and not name.endswith("zarr.json"):
            assert (pair[1] / name).read_bytes() == (tmp_path / "again.zarr" / name).read_bytes(), name


def test_seasonal_masks_flags_and_times_are_carried_over(tmp_path: Path) -> None:
    """A mask of each season, an image that is not valid, a location without a place."""
    rng = np.random.default_rng(1)
    samples = [
        replace(s, masks={"cloud": rng.integers(0, 4, (2, 12, 18)).astype("u1")}) for s in _samples(range(3), "S2L1C")
    ]
    first, second = samples[1].images["S2L1C"]
    samples[1] = replace(samples[1], images={"S2L1C": (replace(first, valid=False), second)})
    path = write_archive(tmp_path / "a.zarr", samples, modalities=["S2L1C"], masks={"cloud": True})

    pack(ArchiveSource([path]), tmp_path / "b.zarr", nodata="flag")

    archive = open_archive(tmp_path / "b.zarr")
    for sample in samples:
        found = archive.sample(sample.location.id)
        np.testing.assert_array_equal(found.masks["cloud"], sample.masks["cloud"])
        assert [i.time for i in found.images["S2L1C"]] == [
            i.time.replace(microsecond=0) for i in sample.images["S2L1C"] if i.time
        ]
        assert [i.valid for i in found.images["S2L1C"]] == [i.valid for i in sample.images["S2L1C"]]
        assert found.location == sample.location


def test_whole_numbers_stay_whole_where_some_locations_have_none(tmp_path: Path) -> None:
    """A column with gaps is no reason to make 5 into 5.0."""
    samples = _samples(range(3), "S1GRD")
    samples[1] = replace(samples[1], labels={})
    path = write_archive(tmp_path / "a.zarr", samples, modalities=["S1GRD"])

    source = ArchiveSource([path])

    assert source.read("0000001").labels == {}
    assert source.read("0000002").labels == {"scene": "kind 2", "height": 3.0, "count": 2}
    assert isinstance(source.read("0000002").labels["count"], int)
    pack(source, tmp_path / "b.zarr")
    assert open_archive(tmp_path / "b.zarr").labels_of("0000002")["count"] == 2


def test_a_list_of_ids_cuts_a_subset(pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the order of the archive, numbers without zeros too, each once; what is not there is in the ledger."""
    path = tmp_path / "ids.txt"
    path.write_text("4\n0000001\n\n 4 \n77\nelsewhere\n")

    with caplog.at_level(logging.INFO):
        source = ArchiveSource([pair[0]], ids=path)
        report = pack(source, tmp_path / "a.zarr")

    assert "of 5 ids asked for, 1 repeat another" in caplog.text
    assert source.ids() == ("0000001", "0000004", "77", "elsewhere")
    assert open_archive(tmp_path / "a.zarr").ids == ("0000001", "0000004")
    assert list(report.skipped) == ["77", "elsewhere"]
    assert ArchiveSource([pair[0]], ids=["0000003"]).ids() == ("0000003",)


def test_some_modalities_can_be_chosen(tmp_path: Path) -> None:
    """Also to join archives that share one."""
    both = write_archive(tmp_path / "a.zarr", [make_sample(i) for i in range(3)])
    radar = write_archive(tmp_path / "b.zarr", _samples(range(3), "S1GRD"), modalities=["S1GRD"])

    assert list(ArchiveSource([both], modalities=["S2L1C"]).read("0000000").images) == ["S2L1C"]
    with pytest.raises(ConfigInvalid, match="several archives with the modality S1GRD"):
        ArchiveSource([both, radar])
    with pytest.raises(UnknownName, match="S2L2A"):
        ArchiveSource([both], modalities=["S2L2A"])


def test_archives_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Other seasons, another size, another finest grid, the same mask; nothing to read."""
    made = {
        "radar": write_archive(
            tmp_path / "radar", _samples(range(2), "S1GRD", masks=["cover"]), modalities=["S1GRD"], masks=["cover"]
        ),
        "seasons": write_archive(
            tmp_path / "seasons", _samples(range(2), "S2L1C", num_seasons=3), modalities=["S2L1C"], num_seasons=3
        ),
        "size": write_archive(
            tmp_path / "size", _samples(range(2), "S2L1C", size=(12, 12)), modalities=["S2L1C"], shape=(12, 12)
        ),
        "mask": write_archive(
            tmp_path / "mask", _samples(range(2), "S2L1C", masks=["cover"]), modalities=["S2L1C"], masks=["cover"]
        ),
    }
    for name, reason in (("seasons", "3 seasons of 12 x 18"), ("size", "12 x 12 px"), ("mask", "the mask cover")):
        with pytest.raises(ConfigInvalid, match=reason):
            ArchiveSource([made["radar"], made[name]])
    with pytest.raises(ConfigInvalid, match="nothing to read"):
        ArchiveSource([made["radar"]], ids=[])
    with pytest.raises(ConfigInvalid, match="nothing to read"):
        ArchiveSource([made["radar"]], modalities=[])
    with pytest.raises(DataMissing, match=r"ids\.txt cannot be read"):
        ArchiveSource([made["radar"]], ids=tmp_path / "ids.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceInvalid, match="UTF-8"):
        ArchiveSource([made["radar"]], ids=tmp_path / "bytes.txt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": {"scene": "another"}}, "label scene"),
        ({"location": Location("0000002", 40.0, 45.25)}, "lies at"),
    ],
)
def test_archives_that_contradict_each_other_lose_the_location(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    """Another label or another place under the same id."""
    radar = write_archive(tmp_path / "a.zarr", _samples([2, 4], "S1GRD"), modalities=["S1GRD"])
    optical = _samples([2, 4], "S2L1C")
    optical[0] = replace(optical[0], **change)
    other = write_archive(tmp_path / "b.zarr", optical, modalities=["S2L1C"])

    report = pack(ArchiveSource([radar, other]), tmp_path / "c.zarr")

    assert list(report.skipped) == ["0000002"]
    assert reason in report.skipped["0000002"]
    assert open_archive(tmp_path / "c.zarr").ids == ("0000004",)


def test_a_damaged_chunk_costs_one_location(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Its reason names the season and the file."""
    flip(pair[0] / "S1GRD/10m/bands/c.0.0.0.0.0", 100)

    report = pack(ArchiveSource([pair[0]]), tmp_path / "a.zarr")

    assert list(report.skipped) == ["0000000"]
    assert "season 0" in report.skipped["0000000"]
    assert report.num_stored == 4


def test_unknown_locations_are_refused_and_sources_travel(pair: tuple[Path, Path]) -> None:
    """LocationMissing for what is not listed; a pickled source reads the same."""
    source = ArchiveSource(pair)

    with pytest.raises(LocationMissing, match="9999999"):
        source.read("9999999")
    with pytest.raises(SourceInvalid, match=r"not in optical\.zarr"):
        source.read("0000000")
    again = pickle.loads(pickle.dumps(source))
    assert same_image(again.read("0000003").images["S1GRD"][0], source.read("0000003").images["S1GRD"][0])


@pytest.mark.parametrize(("asked", "kept"), [(None, 0.25), (0.125, 0.25), (0.5, 0.5)])
def test_rounded_values_stay_called_rounded(tmp_path: Path, asked: float | None, kept: float) -> None:
    """An archive never claims to be finer than what it was made of."""
    form = replace(Form.native("S1GRD"), step=0.25)
    path = write_archive(tmp_path / "a.zarr", _samples(range(2), "S1GRD"), modalities=["S1GRD"], forms=[form])

    pack(ArchiveSource([path]), tmp_path / "b.zarr", s1_step=asked, nodata="flag")

    before, after = open_archive(path), open_archive(tmp_path / "b.zarr")
    assert after.form("S1GRD").step == kept
    if kept == 0.25:
        image, other = (a.read("S1GRD", location=0, season=0) for a in (before, after))
        np.testing.assert_array_equal(image.pixels[10], other.pixels[10])


def test_values_that_rounding_made_zero_are_not_taken_for_fill_values(tmp_path: Path) -> None:
    """-0.1 dB in steps of 0.25 is 0: the archive had been looked at before, and says that the image is valid."""
    sample = _samples([0], "S1GRD")[0]
    images = tuple(
        replace(image, pixels={10: np.full((2, 12, 18), -0.1, "f4")}, valid=season == 0)
        for season, image in enumerate(sample.images["S1GRD"])
    )
    samples = [replace(sample, images={"S1GRD": (images[0], images[0])}), replace(sample, images={"S1GRD": images})]
    samples[1] = replace(samples[1], location=Location("0000001"))
    form = replace(Form.native("S1GRD"), step=0.25)
    path = write_archive(tmp_path / "a.zarr", samples, modalities=["S1GRD"], forms=[form])

    report = pack(ArchiveSource([path]), tmp_path / "b.zarr")

    assert open_archive(tmp_path / "b.zarr").ids == ("0000000",)
    assert list(report.skipped) == ["0000001"]


def test_an_archive_is_told_by_its_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Another Zarr group is not one."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/zarr.json").write_text("{}")

    assert is_archive(pair[0])
    assert not is_archive(tmp_path / "other")
    with pytest.raises(DataMissing, match="Zarr group"):
        open_source(tmp_path / "other")


def test_the_command_packs_archives_to_8_bits(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two archives, a list of ids, the corrected form: 1000 DN are taken away and the archive says what it holds."""
    (tmp_path / "ids.txt").write_text("2\n3\n")

    status = command.run(list(pair), tmp_path / "a.zarr", ids=tmp_path / "ids.txt", eight_bit="10k")

    archive = open_archive(tmp_path / "a.zarr")
    assert status == 0
    assert archive.ids == ("0000002", "0000003")
    assert archive.contract("S2L1C").scaling == "uint8_10k"
    assert archive.contract("S2L1C").offset == 0
    assert archive.form("S1GRD").dtype == "uint8"
    before = open_archive(pair[1]).read("S2L1C", location="0000003", season=1)
    expected = np.clip((before.band("B8A").astype(float) - 1000) / 10_000 * 255, 0, 255).astype("u1")
    np.testing.assert_array_equal(archive.read("S2L1C", location="0000003", season=1).band("B8A"), expected)
    assert "2 locations stored" in capsys.readouterr().out


def test_the_command_refuses_options_that_cannot_work(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """as-published alone, ids of a layout that has none, 8 bits of 8 bits, the published form of values with offset."""
    with pytest.raises(ConfigInvalid, match="--as-published alone"):
        command.run(list(pair), tmp_path / "a.zarr", as_published=True)
    with pytest.raises(ConfigInvalid, match="has no option rule"):
        command.run(list(pair), tmp_path / "a.zarr", rule="uint8_10k_wrapped")
    with pytest.raises(DataMissing, match="leave --as-published out"):
        command.run([pair[1]], tmp_path / "a.zarr", eight_bit="10k", as_published=True)
    command.run([pair[0]], tmp_path / "b.zarr", eight_bit="sigma2")
    with pytest.raises(ConfigInvalid, match="8 bits already"):
        command.run([tmp_path / "b.zarr"], tmp_path / "c.zarr", eight_bit="sigma2")


def test_streams_are_not_made_8_bits_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no random access; the remedy says how."""

    class Stream:
        def parcels(self) -> None:
            """Be a stream."""

    monkeypatch.setattr(command, "open_source", lambda *_, **__: Stream())

    with pytest.raises(ConfigInvalid, match="front to back"):
        command.run([tmp_path], tmp_path / "a.zarr", eight_bit="10k")
