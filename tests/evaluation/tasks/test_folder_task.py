# SPDX-License-Identifier: Apache-2.0
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from ssl4eo.contract import FusedContract, network_input, plan_remap, stored
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.folder import SIDECAR, open_folder
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS, hash_order
from ssl4eo.loading.folder import FolderPixels, ImageFolder

RGB, L1C, L2A, GRD = (network_input(name) for name in ("S2RGB", "S2L1C", "S2L2A", "S1GRD"))
ZIP = Path(__file__).parents[4] / "shared" / "data" / "EuroSAT_RGB.zip"
CLASSES = ("bog", "fen", "heath")


def write_tif(path: Path, values: np.ndarray, *, names: tuple[str, ...] = (), **tags: str) -> None:
    """Write a GeoTIFF (band, y, x) with descriptions and tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        count, height, width = values.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": values.dtype}
        with rasterio.open(path, "w", photometric="minisblack", **profile) as file:
            file.write(values)
            file.update_tags(**tags)
            if names:
                file.descriptions = names


def fill(root: Path, *, suffix: str = ".tif", count: int = 10, values=None, **options) -> Path:
    """Write synthetic pictures of three classes; `values(number)` gives the pixels of a GeoTIFF."""
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            path = root / name / f"{i}{suffix}"
            if suffix == ".tif":
                write_tif(path, values(i), **options)
            else:
                Image.new("RGB", (8, 8), (20 * i, 10, 5)).save(path)
    return root


def planes(count: int, dtype: type = np.uint16):
    """Give pixels that tell picture and position in the file."""
    return lambda i: np.broadcast_to((100 * i + np.arange(count))[:, None, None], (count, 8, 8)).astype(dtype)


def tell(root: Path, contract) -> None:
    """Write contract.json."""
    (root / SIDECAR).write_text(json.dumps(contract.to_json()))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_pictures_in_red_green_blue_need_no_word(tmp_path, suffix):
    """They are S2RGB, and read as the EuroSAT task reads them."""
    fill(tmp_path, suffix=suffix)

    task = open_task("folder", tmp_path, contract=RGB)

    other = FolderPixels(ImageFolder.scan(tmp_path))
    source = task.everything.source
    assert (source.contract, task.classes) == (stored("S2RGB"), CLASSES)
    assert [source.id_of(i) for i in range(30)] == [other.id_of(i) for i in range(30)]
    np.testing.assert_array_equal(source.pixels(7, 0)[10], other.pixels(7, 0)[10])
    assert any("red, green, blue" in note for note in task.notes)


def test_folds_judge_every_picture_once(tmp_path):
    """Fifths of each class, as equal as can be, whatever else there is."""
    fill(tmp_path, suffix=".png", count=11)

    folds = [open_folder(tmp_path, split=f"fold_{i}", contract=RGB) for i in range(1, 6)]

    ids = [name for task in folds for name in task.part("test").ids]
    assert sorted(ids) == sorted(folds[0].everything.ids)
    assert sorted(len(task.part("test")) for task in folds) == [6, 6, 7, 7, 7]
    for task in folds:
        assert set(np.bincount(task.part("test").labels)) <= {2, 3}
        assert not set(task.part("train").ids) & set(task.part("test").ids)


def test_a_fifth_of_each_class_is_test_by_hash(tmp_path):
    """The smallest hashes of the paths, recomputed; validation is a tenth of the rest."""
    task = open_folder(fill(tmp_path, suffix=".png"), split="reference", contract=RGB)

    assert {part: np.bincount(task.part(part).labels).tolist() for part in PARTS} == {
        "train": [7] * 3,
        "validation": [1] * 3,
        "test": [2] * 3,
    }
    for name in CLASSES:
        ids = [f"{name}/{i}.png" for i in range(10)]
        order = np.argsort(hash_order(ids, salt="folder/reference"))
        assert {i for i in task.part("test").ids if i.startswith(name)} == {ids[k] for k in order[:2]}


@pytest.mark.parametrize("validation", [None, "val", "validation"])
def test_folders_of_parts_are_taken_as_they_are(tmp_path, validation):
    """Without one for validation a tenth of train is."""
    homes = {"train": 10, "test": 4} | ({validation: 3} if validation else {})
    for home, count in homes.items():
        fill(tmp_path / home, suffix=".png", count=count)

    task = open_folder(tmp_path, split="folders", contract=RGB)

    counts = [len(task.part(part)) for part in PARTS]
    assert counts == ([30, 9, 12] if validation else [27, 3, 12])
    assert all(i.startswith("test/") for i in task.part("test").ids)
    for part in map(task.part, PARTS):
        assert [task.classes[k] for k in part.labels] == [i.split("/")[1] for i in part.ids]


def test_folders_of_parts_need_train_and_test(tmp_path):
    """Plain class folders have none, and the other way round the remedy says what to use."""
    fill(tmp_path / "a", suffix=".png")
    with pytest.raises(DataMissing, match=r"no folders train and test.*use split reference"):
        open_folder(tmp_path / "a", split="folders", contract=RGB)
    for home in ("train", "test"):
        fill(tmp_path / "b" / home, suffix=".png")
    with pytest.raises(DataMissing, match="use split folders"):
        open_folder(tmp_path / "b", split="reference", contract=RGB)
    for home in ("val", "validation"):
        fill(tmp_path / "b" / home, suffix=".png")
    with pytest.raises(SourceInvalid, match="folders val and validation; expected one of them"):
        open_folder(tmp_path / "b", split="folders", contract=RGB)


def test_a_class_that_is_only_in_test_is_refused(tmp_path):
    """Nobody could learn it."""
    for home in ("train", "test"):
        fill(tmp_path / home, suffix=".png")
    (tmp_path / "test" / "fen").rename(tmp_path / "test" / "dune")

    with pytest.raises(SourceInvalid, match="class 'dune' of folder has 10 items, none of them in the train part"):
        open_folder(tmp_path, split="folders", contract=RGB)


def test_geotiffs_are_what_contract_json_tells(tmp_path):
    """Bands in file order, any order; offset taken away on the way into the network."""
    fill(tmp_path, values=lambda i: planes(4)(i) + np.uint16(2000))
    tell(tmp_path, stored("S2L2A", offset=1000, bands=("B08", "B04", "B03", "B02")))
    network = network_input("S2L2A", ("B04", "B03", "B02", "B08"))

    source = open_folder(tmp_path, split="reference", contract=network).everything.source

    pixels = source.pixels(3, 0)[10]
    assert source.contract == stored("S2L2A", offset=1000, bands=("B02", "B03", "B04", "B08"))
    assert pixels[:, 0, 0].tolist() == [2303, 2302, 2301, 2300]
    fed = plan_remap(source.contract, network)(pixels)
    np.testing.assert_allclose(fed[:, 0, 0], [0.1301, 0.1302, 0.1303, 0.13], rtol=1e-6)


def test_digital_numbers_that_the_nodata_tag_names_are_0(tmp_path):
    """Also below zero; decibels stay as they are, since 0 dB is a bright value."""
    for name, count in (("s2", 12), ("s1", 2)):
        fill(tmp_path / name, values=planes(count, np.int16 if count == 12 else np.float32))
        home = tmp_path / name / "bog" / "1.tif"
        values = planes(count, np.int16 if count == 12 else np.float32)(1).copy()
        values[:, 2, 2] = -9999
        write_tif(home, values)
        with rasterio.open(home, "r+") as file:
            file.nodata = -9999
    tell(tmp_path / "s2", stored("S2L2A"))
    tell(tmp_path / "s1", stored("S1GRD"))

    optical = open_folder(tmp_path / "s2", split="reference", contract=L2A).everything.source.pixels(1, 0)[10]
    radar = open_folder(tmp_path / "s1", split="reference", contract=GRD).everything.source.pixels(1, 0)[10]

    assert (optical[:, 2, 2].tolist(), optical[:, 0, 0].tolist()) == ([0] * 12, [100 + i for i in range(12)])
    assert radar[:, 2, 2].tolist() == [-9999, -9999]


def test_int16_is_read_as_the_same_numbers(tmp_path):
    """Below zero is refused."""
    fill(tmp_path, values=planes(12, np.int16))
    tell(tmp_path, stored("S2L2A"))
    write_tif(tmp_path / "fen" / "3.tif", -planes(12, np.int16)(3))
    source = open_folder(tmp_path, split="reference", contract=L2A).everything.source

    assert source.pixels(1, 0)[10].dtype == np.uint16
    assert source.pixels(1, 0)[10][:, 0, 0].tolist() == list(range(100, 112))
    with pytest.raises(SourceInvalid, match=r"fen/3.tif has values below zero"):
        source.pixels(13, 0)


def test_radar_and_8_bit_forms_are_told_too(tmp_path):
    """Decibels; and values stored by a published rule."""
    fill(tmp_path / "a", values=planes(2, np.float32))
    tell(tmp_path / "a", stored("S1GRD"))
    fill(tmp_path / "b", values=lambda i: planes(13)(i).astype(np.uint8))
    tell(tmp_path / "b", stored("S2L1C", scaling="uint8_10k"))

    radar = open_folder(tmp_path / "a", split="reference", contract=GRD).everything.source
    optical = open_folder(tmp_path / "b", split="reference", contract=L1C).everything.source

    assert radar.pixels(0, 0)[10].dtype == np.float32
    assert (optical.form.dtype, optical.contract.scaling) == ("uint8", "uint8_10k")


B10_TOO = stored("S2L1C").bands


def test_descriptions_that_fit_one_modality_count_with_an_offset_tag(tmp_path):
    """13 bands with B10 are L1C; each file is read in its own order."""
    fill(tmp_path, values=planes(13), names=B10_TOO, PROCESSING_BASELINE="03.01")
    write_tif(tmp_path / "bog" / "1.tif", planes(13)(1), names=B10_TOO[::-1], PROCESSING_BASELINE="03.01")

    task = open_folder(tmp_path, split="reference", contract=L1C)

    source = task.everything.source
    assert source.contract == stored("S2L1C")
    assert source.pixels(0, 0)[10][:, 0, 0].tolist() == list(range(13))
    assert source.pixels(1, 0)[10][:, 0, 0].tolist() == list(range(112, 99, -1))
    assert any("band descriptions and tags" in note for note in task.notes)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ({"PROCESSING_BASELINE": "03.01"}, "does not describe its bands"),
        ({"names": B10_TOO}, "does not tell its offset"),
        ({"names": B10_TOO, "PROCESSING_BASELINE": "05.00"}, "tags of offset 1000 DN; expected offset 0 DN"),
        ({"names": ("B01", *B10_TOO[:-1]), "PROCESSING_BASELINE": "03.01"}, "describes its bands as"),
    ],
)
def test_a_file_that_says_less_or_else_than_the_others_is_refused(tmp_path, spoiled, message):
    """When it is read, by name."""
    fill(tmp_path, values=planes(13), names=B10_TOO, PROCESSING_BASELINE="03.01")
    write_tif(tmp_path / "fen" / "3.tif", planes(13)(3), **spoiled)
    source = open_folder(tmp_path, split="reference", contract=L1C).everything.source

    with pytest.raises(SourceInvalid, match=rf"fen/3.tif.*{message}"):
        source.pixels(13, 0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (planes(13), {}, "which fits no modality"),
        (planes(13), {"names": B10_TOO}, "which is S2L1C, with no tag that tells the offset"),
        (planes(12), {"names": stored("S2L2A").bands, "PROCESSING_BASELINE": "03.01"}, "fits S2L1C and S2L2A"),
        (planes(2, np.float32), {"names": ("VV", "VH")}, "fits S1GRD and S1RTC"),
        (planes(3, np.uint8), {}, "which fits no modality"),
        (planes(1, np.uint8), {}, "which fits no modality"),
    ],
)
def test_what_nobody_tells_is_not_guessed(tmp_path, values, options, message):
    """The remedy is a file that can be written as it stands."""
    fill(tmp_path, values=values, **options)

    with pytest.raises(SourceInvalid, match=rf"0.tif .*{message}.*never guessed.*contract.json") as caught:
        open_folder(tmp_path, split="reference", contract=L1C)

    example = caught.value.remedy
    (tmp_path / SIDECAR).write_text(example[example.index("{") :])
    json.loads((tmp_path / SIDECAR).read_text())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no contract"),
        ("[1]", "is no contract"),
        ('{"modality": "S2L2A"}', "is no contract .a stored contract without 'bands'"),
        (json.dumps({**stored("S2L1C").to_json(), "bands": ["B99"]}), "is no contract .*B99"),
        (json.dumps(stored("S2L2A").to_json()), "tells S2L2A .*expected one modality with a band for each .*13 bands"),
        (json.dumps(FusedContract((stored("S2L1C"), stored("S1GRD"))).to_json()), "expected one modality"),
        (json.dumps(L1C.to_json()), "values scaled by 'reflectance'; expected values as their product stores them"),
        (json.dumps(stored("S2L1C", scaling="uint8_10k").to_json()), "holds pictures of .*uint16, told to be"),
    ],
)
def test_a_wrong_contract_is_refused(tmp_path, text, message):
    """Not JSON, not a contract, another number of bands, scaled values, another type."""
    fill(tmp_path, values=planes(13))
    (tmp_path / SIDECAR).write_text(text)

    with pytest.raises(SourceInvalid, match=message):
        open_folder(tmp_path, split="reference", contract=L1C)


def test_descriptions_that_contradict_the_contract_are_refused(tmp_path):
    """Somebody is wrong."""
    fill(tmp_path, values=planes(13), names=B10_TOO)
    tell(tmp_path, stored("S2L1C", bands=B10_TOO[::-1]))
    source = open_folder(tmp_path, split="reference", contract=L1C).everything.source

    with pytest.raises(SourceInvalid, match="describes its bands as B01 B02"):
        source.pixels(0, 0)


def test_networks_that_cannot_be_fed_are_refused(tmp_path):
    """At the door."""
    with pytest.raises(ContractMismatch, match="S2RGB cannot stand for S2L1C"):
        open_folder(fill(tmp_path, suffix=".png"), split="reference", contract=L1C)


def test_pictures_of_another_size_are_refused_by_name(tmp_path):
    """The usual size is that of most."""
    fill(tmp_path, suffix=".png")
    Image.new("RGB", (9, 8)).save(tmp_path / "bog" / "0.png")
    source = open_folder(tmp_path, split="reference", contract=RGB).everything.source

    with pytest.raises(SourceInvalid, match=r"bog/0.png has 3 bands of 8 x 9 px"):
        source.pixels(0, 0)


def test_absent_folders_and_unknown_splits_are_refused(tmp_path):
    """And what is hidden or no picture is not looked at."""
    with pytest.raises(DataMissing, match=r"no folder .*absent"):
        open_folder(tmp_path / "absent", split="reference", contract=RGB)
    fill(tmp_path / ".hidden", suffix=".png")
    (tmp_path / "bog").mkdir()
    (tmp_path / "bog" / "readme.txt").write_text("no picture")
    with pytest.raises(DataMissing, match=r"no pictures in the folders of .*\(bog\)"):
        open_folder(tmp_path, split="reference", contract=RGB)
    with pytest.raises(UnknownName, match="no split of folder is called 'test'"):
        open_folder(tmp_path, split="test", contract=RGB)


def test_a_worker_reads_the_same_and_identity_changes_with_contract_and_files(tmp_path):
    """Two contracts are two sources."""
    fill(tmp_path, values=planes(12))
    tell(tmp_path, stored("S2L2A"))
    source = open_folder(tmp_path, split="reference", contract=L2A).everything.source
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.pixels(4, 0)[10], source.pixels(4, 0)[10])
    assert again.identity == source.identity

    tell(tmp_path, stored("S2L2A", offset=1000))

    assert open_folder(tmp_path, split="reference", contract=L2A).everything.source.identity != source.identity


@pytest.mark.real
@pytest.mark.skipif(not ZIP.is_file(), reason="no real EuroSAT beside the checkout")
def test_real_pictures_are_a_task(tmp_path):
    """Ten pictures of each class of the real EuroSAT."""
    with zipfile.ZipFile(ZIP) as archive:
        pictures = sorted(m for m in archive.namelist() if m.endswith(".jpg"))
        classes = sorted({m.split("/")[-2] for m in pictures})
        for name in classes:
            archive.extractall(tmp_path, [m for m in pictures if m.split("/")[-2] == name][:10])

    task = open_folder(tmp_path / "EuroSAT_RGB", split="reference", contract=RGB)

    assert task.classes == tuple(classes)
    assert [len(task.part(part)) for part in PARTS] == [70, 10, 20]
    assert task.everything.source.pixels(0, 0)[10].shape == (3, 64, 64)
