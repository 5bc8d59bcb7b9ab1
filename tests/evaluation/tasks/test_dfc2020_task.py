# SPDX-License-Identifier: Apache-2.0
import logging
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from ssl4eo.contract import FusedContract, network_input, plan_remap
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.dfc2020 import CLASSES, INDEX_OF_VALUE, open_dfc2020
from ssl4eo.evaluation.tasks.gaps import Gaps
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS, UNJUDGED
from ssl4eo.sensors import statistics

L1C, GRD = network_input("S2L1C"), network_input("S1GRD")
BOTH = network_input("S2L1C+S1GRD")
COUNTS = {"validation": 10, "test": 3}


def write(path: Path, values: np.ndarray) -> None:
    """Write a GeoTIFF (band, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        count, height, width = values.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": values.dtype}
        with rasterio.open(path, "w", compress="deflate", **profile) as file:
            file.write(values)


def path_of(root: Path, part: str, kind: str, patch: str) -> Path:
    """Give the published name of a file."""
    folder = "validation" if part == "validation" else "0"
    return root / f"ROIs0000_{part}" / f"{kind}_{folder}" / f"ROIs0000_{part}_{kind}_{patch}.tif"


def optical(seed: int) -> np.ndarray:
    """Give 13 planes that tell their patch and band."""
    return np.broadcast_to((100 * seed + np.arange(13, dtype=np.uint16))[:, None, None], (13, 256, 256)).copy()


@pytest.fixture(scope="session")
def dfc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published folders with 10 and 3 patches, synthetic."""
    root = tmp_path_factory.mktemp("dfc2020")
    for part, count in COUNTS.items():
        for k in range(count):
            patch = f"0_p{k + 8}"
            rng = np.random.default_rng(k)
            write(path_of(root, part, "s2", patch), optical(k))
            write(path_of(root, part, "s1", patch), rng.uniform(-30, 0, (2, 256, 256)).astype(np.float32))
            write(path_of(root, part, "dfc", patch), np.arange(65_536, dtype=np.uint8).reshape(1, 256, 256) % 11)
    return root


def test_the_validation_folder_is_learned_from_and_the_test_folder_judged(dfc):
    """A tenth of the former is the validation part."""
    task = open_task("dfc2020", dfc, contract=L1C)

    assert [len(task.part(part)) for part in PARTS] == [9, 1, 3]
    assert task.part("test").ids == ("test/0_p8", "test/0_p9", "test/0_p10")
    assert all(i.startswith("validation/") for part in PARTS[:2] for i in task.part(part).ids)
    assert task.kind == "segmentation"
    assert not task.synthetic


def test_ten_labels_are_mapped_to_eight_classes():
    """By hand: 1-2 to 0-1, 4-7 to 2-5, 9-10 to 6-7; none, Savanna (3) and Snow/Ice (8) are not judged."""
    assert INDEX_OF_VALUE.tolist() == [255, 0, 1, 255, 2, 3, 4, 5, 255, 6, 7]
    assert [CLASSES[INDEX_OF_VALUE[v]] for v in (1, 2, 4, 5, 6, 7, 9, 10)] == [
        "Forest",
        "Shrubland",
        "Grassland",
        "Wetlands",
        "Croplands",
        "Urban/Built-up",
        "Barren",
        "Water",
    ]


def test_maps_are_those_of_the_patch(dfc):
    """Values 0 to 10 in turn."""
    part = open_dfc2020(dfc, split="reference", contract=L1C).part("test")

    found = part.maps(int(part.items[1]))

    assert found.shape == (256, 256)
    assert found[0, :11].tolist() == [255, 0, 1, 255, 2, 3, 4, 5, 255, 6, 7]


def test_pixels_are_those_of_the_patch_in_canonical_order(dfc):
    """B8A is channel 8, B10 channel 10, as in the files."""
    part = open_dfc2020(dfc, split="reference", contract=L1C).part("test")

    found = part.source.pixels(int(part.items[2]), 0)

    assert part.source.contract.bands[8:11] == ("B8A", "B09", "B10")
    np.testing.assert_array_equal(found[10], optical(2))
    assert found[10].dtype == np.uint16


@pytest.mark.parametrize("contract", [BOTH, FusedContract((GRD, L1C)), network_input("S2L2A+S1GRD")])
def test_both_sensors_come_together_in_the_networks_order(dfc, contract):
    """DN beside dB, each channel fed by its own part of the contract."""
    part = open_dfc2020(dfc, split="reference", contract=contract).part("test")
    item = int(part.items[0])
    alone = {c.modality: open_dfc2020(dfc, split="reference", contract=c).everything.source for c in (L1C, GRD)}

    fed = plan_remap(part.source.contract, contract)(part.source.pixels(item, 0)[10])

    expected = [
        plan_remap(source.contract, single)(source.pixels(item, 0)[10])
        for single in contract.parts
        for source in [alone["S1GRD" if single.modality == "S1GRD" else "S2L1C"]]
    ]
    np.testing.assert_allclose(fed, np.concatenate(expected), rtol=1e-6)


def test_networks_of_12_and_3_bands_are_fed_by_contract(dfc):
    """Of L2A without B10, and red, green, blue of L1C."""
    for contract in (network_input("S2L2A"), network_input("S2L1C", ("B04", "B03", "B02"))):
        source = open_dfc2020(dfc, split="reference", contract=contract).everything.source
        assert plan_remap(source.contract, contract)(source.pixels(0, 0)[10]).shape[0] == contract.num_bands


@pytest.mark.parametrize("name", ["S2RGB", "L8TOA"])
def test_other_networks_are_refused(dfc, name):
    """Neither 8-bit pictures nor Landsat can be made of it."""
    with pytest.raises(ContractMismatch, match=f"S2L1C cannot stand for {name}"):
        open_dfc2020(dfc, split="reference", contract=network_input(name))


def test_nan_of_radar_takes_the_mean_of_its_band(dfc, tmp_path):
    """By hand: half the first band is -10 dB, the other half NaN and infinity; the second band is all NaN."""
    shutil.copytree(dfc, tmp_path / "a")
    values = np.full((2, 256, 256), -10, np.float32)
    values[0, :128], values[0, 0, 0], values[1] = np.nan, -np.inf, np.nan
    write(path_of(tmp_path / "a", "test", "s1", "0_p8"), values)
    part = open_dfc2020(tmp_path / "a", split="reference", contract=GRD).part("test")

    found = part.source.pixels(int(part.items[0]), 0)[10]

    assert (found[0] == -10).all()
    assert (found[1] == np.float32(statistics("S1GRD", "published_50k").mean["VH"])).all()
    assert (part.maps(int(part.items[0]))[0, 1:3] != UNJUDGED).all()


def test_radar_in_float64_is_read_as_float32(dfc, tmp_path):
    """Some copies have it."""
    shutil.copytree(dfc, tmp_path / "a")
    write(path_of(tmp_path / "a", "test", "s1", "0_p8"), np.full((2, 256, 256), -12.3))
    part = open_dfc2020(tmp_path / "a", split="reference", contract=GRD).part("test")

    found = part.source.pixels(int(part.items[0]), 0)[10]

    assert found.dtype == np.float32
    assert (found == np.float32(-12.3)).all()


def test_incomplete_data_set_is_told(dfc, caplog):
    """Scores of ten patches are not those of DFC2020: in the log and in the notes."""
    with caplog.at_level(logging.WARNING):
        task = open_dfc2020(dfc, split="reference", contract=L1C)

    assert "13 of 6,114 patches of the contest" in caplog.text
    assert any("13 of 6,114 patches of the contest" in note for note in task.notes)
    assert not task.is_whole
    assert any("contest's test folder" in note for note in task.notes)


def test_opening_opens_no_file(dfc, tmp_path):
    """Names are enough: broken files are found when they are read."""
    shutil.copytree(dfc, tmp_path / "a")
    for path in (tmp_path / "a").rglob("*.tif"):
        path.write_bytes(b"II*")

    part = open_dfc2020(tmp_path / "a", split="reference", contract=BOTH).part("test")

    with pytest.raises(SourceInvalid, match=r"s2_0_p8.tif cannot be read"):
        part.source.pixels(int(part.items[0]), 0)
    with pytest.raises(SourceInvalid, match=r"dfc_0_p8.tif cannot be read"):
        part.maps(int(part.items[0]))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("s2", optical(0)[:12], "12 bands of 256 x 256 px, uint16"),
        ("s2", optical(0)[:, :128], "13 bands of 128 x 256 px"),
        ("s2", optical(0).astype(np.float32), "float32; expected 13 bands of 256 x 256 px, uint16"),
        ("s1", np.zeros((3, 256, 256), np.float32), "3 bands"),
        ("dfc", np.full((1, 256, 256), 11, np.uint8), "has the label 11; expected 0 .none. to 10 .Water."),
        ("dfc", np.full((4, 256, 256), 1, np.uint16), "4 bands"),
    ],
)
def test_wrong_files_are_refused_by_name(dfc, tmp_path, kind, values, message):
    """Another number of bands, size, type or label."""
    shutil.copytree(dfc, tmp_path / "a")
    write(path_of(tmp_path / "a", "test", kind, "0_p8"), values)
    part = open_dfc2020(tmp_path / "a", split="reference", contract=BOTH).part("test")

    read = part.maps if kind == "dfc" else lambda item: part.source.pixels(item, 0)
    with pytest.raises(SourceInvalid, match=rf"{kind}_0_p8.tif.*{message}"):
        read(int(part.items[0]))


def test_a_patch_without_one_of_its_files_is_refused(dfc, tmp_path):
    """Named; radar that a network does not want may be absent."""
    shutil.copytree(dfc, tmp_path / "a")
    path_of(tmp_path / "a", "test", "s1", "0_p9").unlink()

    with pytest.raises(SourceInvalid, match=r"1 patches of .*expected .*s1_0_p9.tif"):
        open_dfc2020(tmp_path / "a", split="reference", contract=BOTH)
    assert len(open_dfc2020(tmp_path / "a", split="reference", contract=L1C).part("test")) == 3

    path_of(tmp_path / "a", "test", "dfc", "0_p8").unlink()
    with pytest.raises(SourceInvalid, match=r"expected .*dfc_0_p8.tif"):
        open_dfc2020(tmp_path / "a", split="reference", contract=L1C)


def test_patches_without_a_file_are_left_out_on_request(dfc, tmp_path):
    """Whichever file it is."""
    shutil.copytree(dfc, tmp_path / "a")
    path_of(tmp_path / "a", "test", "s1", "0_p9").unlink()
    gaps = Gaps()

    task = open_dfc2020(tmp_path / "a", split="reference", contract=BOTH, gaps=gaps)

    assert [gap.items for gap in gaps.found] == [("0_p9",)]
    assert not any("p9" in name for name in task.part("test").ids)
    assert len(task.part("test")) == 2
    task.part("test").source.pixels(int(task.part("test").items[1]), 0)


def test_missing_folders_and_unknown_splits_are_refused(dfc, tmp_path):
    """Named with what is looked for."""
    with pytest.raises(DataMissing, match=r"no ROIs0000_validation_dfc_\*.tif .*ROIs0000_validation and ROIs0000_test"):
        open_dfc2020(tmp_path, split="reference", contract=L1C)
    with pytest.raises(UnknownName, match="no split of dfc2020 is called 'test'"):
        open_dfc2020(dfc, split="test", contract=L1C)


def test_a_worker_reads_the_same(dfc):
    """The source goes through pickle."""
    source = open_dfc2020(dfc, split="reference", contract=BOTH).everything.source

    again = pickle.loads(pickle.dumps(source))

    np.testing.assert_array_equal(again.pixels(3, 0)[10], source.pixels(3, 0)[10])
    assert again.identity == source.identity
    assert again.identity != open_dfc2020(dfc, split="reference", contract=L1C).everything.source.identity
