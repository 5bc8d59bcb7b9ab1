# SPDX-License-Identifier: Apache-2.0
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from sklearn.model_selection import train_test_split

from ssl4eo.contract import network_input, plan_remap
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.eurosat import CLASSES, UNPACKED
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS

L1C, RGB = network_input("S2L1C"), network_input("S2RGB")
FILE_ORDER = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"]
"""Written out again: what facts say of the files."""
WORDS = {"train": "train", "validation": "val", "test": "test"}


def write_tif(path: Path, values: np.ndarray) -> None:
    """Write a GeoTIFF (band, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        count, height, width = values.shape
        profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": values.dtype}
        with rasterio.open(path, "w", compress="deflate", **profile) as file:
            file.write(values)


def tile(number: int) -> np.ndarray:
    """Give a tile whose values tell number and position in the file, from 0."""
    planes = 100 * number + np.arange(13, dtype=np.uint16)
    return np.broadcast_to(planes[:, None, None], (13, 64, 64)).astype(np.uint16)


@pytest.fixture(scope="session")
def eurosat_13(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EuroSATallBands.zip as unpacked, with 10 synthetic tiles a class and the lists beside."""
    root = tmp_path_factory.mktemp("eurosat")
    for name in CLASSES:
        for i in range(1, 11):
            write_tif(root / UNPACKED / name / f"{name}_{i}.tif", tile(i))
    write_lists(root)
    return root


def write_lists(root: Path) -> None:
    """Write lists of 6, 2 and 2 pictures a class; those by longitude take other numbers."""
    for prefix, shift in (("eurosat-", 0), ("eurosat-spatial-", 4)):
        for word, numbers in (("train", range(6)), ("val", (6, 7)), ("test", (8, 9))):
            lines = [f"{name}_{(n + shift) % 10 + 1}.jpg" for name in CLASSES for n in numbers]
            (root / f"{prefix}{word}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def eurosat_rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with 10 small pictures a class, the lists in the folder above."""
    root = tmp_path_factory.mktemp("data") / "EuroSAT_RGB"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for i in range(1, 11):
            Image.new("RGB", (8, 8), (10 * i, 0, 5)).save(root / name / f"{name}_{i}.jpg")
    write_lists(root.parent)
    return root


def test_bands_come_in_canonical_order(eurosat_13):
    """B8A is the last in the file and the ninth of ours."""
    part = open_task("eurosat_13", eurosat_13, contract=L1C).part("test")

    found = part.source.pixels(int(part.items[0]), 0)[10]

    number = int(part.ids[0].split("_")[1].removesuffix(".tif"))
    assert part.source.contract.bands == part.source.form.bands
    assert (found[:, 0, 0] - 100 * number).tolist() == [FILE_ORDER.index(b) for b in part.source.contract.bands]
    assert part.source.contract.bands[8] == "B8A"
    assert (found.dtype, found.shape) == (np.uint16, (13, 64, 64))


def test_reference_split_is_that_of_scikit_learn_over_sorted_paths(eurosat_13):
    """80/20, stratified, seed 42, recomputed; the class folders themselves give the same."""
    paths = sorted(p.relative_to(eurosat_13 / UNPACKED).as_posix() for p in eurosat_13.rglob("*.tif"))
    labels = [CLASSES.index(p.split("/")[0]) for p in paths]
    _, expected = train_test_split(np.arange(100), train_size=0.8, stratify=labels, random_state=42)

    task = open_task("eurosat_13", eurosat_13, contract=L1C)

    assert set(task.part("test").ids) == {paths[i] for i in expected}
    assert open_task("eurosat_13", eurosat_13 / UNPACKED, contract=L1C).split_sha256 == task.split_sha256


@pytest.mark.parametrize(("name", "contract", "suffix"), [("eurosat_13", L1C, "tif"), ("eurosat", RGB, "jpg")])
@pytest.mark.parametrize(("split", "prefix"), [("torchgeo", "eurosat-"), ("spatial", "eurosat-spatial-")])
def test_listed_splits_are_those_of_the_lists(eurosat_13, eurosat_rgb, name, contract, suffix, split, prefix):
    """All three parts, by the names of the RGB pictures; lists lie in the root or beside it."""
    root = eurosat_13 if name == "eurosat_13" else eurosat_rgb
    lists = eurosat_13 if name == "eurosat_13" else eurosat_rgb.parent

    task = open_task(name, root, split=split, contract=contract)

    for part in PARTS:
        lines = (lists / f"{prefix}{WORDS[part]}.txt").read_text().split()
        expected = {f"{line.rpartition('_')[0]}/{line.removesuffix('.jpg')}.{suffix}" for line in lines}
        assert set(task.part(part).ids) == expected
        for identifier, label in zip(task.part(part).ids, task.part(part).labels, strict=True):
            assert identifier.startswith(f"{CLASSES[label]}/")


def test_what_no_list_names_is_in_no_part(eurosat_13, tmp_path):
    """It is not learned from silently."""
    shutil.copytree(eurosat_13, tmp_path / "a")
    path = tmp_path / "a" / "eurosat-train.txt"
    path.write_text(path.read_text().replace("River_1.jpg\n", ""))

    task = open_task("eurosat_13", tmp_path / "a", split="torchgeo", contract=L1C)

    assert len(task.everything) == 99
    assert not any("River_1.tif" in task.part(part).ids for part in PARTS)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text + "River_77.jpg\n", "names 1 pictures that .* does not have, River_77.jpg first"),
        (lambda text: text + "River_1.jpg\n", "names a picture twice"),
        (lambda text: text + "River_9.jpg\n", "eurosat-test.txt names a picture twice, or one that another list"),
    ],
)
def test_lists_that_do_not_fit_are_refused(eurosat_13, tmp_path, spoil, message):
    """An absent picture, one twice, one in two lists."""
    shutil.copytree(eurosat_13, tmp_path / "a")
    path = tmp_path / "a" / "eurosat-train.txt"
    path.write_text(spoil(path.read_text()))

    with pytest.raises(SourceInvalid, match=message):
        open_task("eurosat_13", tmp_path / "a", split="torchgeo", contract=L1C)


def test_listed_tiles_that_are_absent_are_left_out_on_request(eurosat_13, tmp_path):
    """The part of the list without them; what is not listed stays out."""
    shutil.copytree(eurosat_13, tmp_path / "a")
    whole = open_task("eurosat_13", eurosat_13, split="torchgeo", contract=L1C).part("test").ids
    (path,) = (tmp_path / "a").rglob(Path(whole[0]).name)
    path.unlink()

    task = open_task("eurosat_13", tmp_path / "a", split="torchgeo", contract=L1C, skip_missing=True)

    assert task.part("test").ids == whole[1:]
    assert (task.num_absent, Path(task.gaps[0].items[0]).stem) == (1, path.stem)


def test_absent_lists_are_refused_with_the_way_to_get_them(eurosat_13):
    """Only the class folders were kept."""
    with pytest.raises(DataMissing, match=r"no eurosat-spatial-train.txt in .*ssl4eo download eurosat --only splits"):
        open_task("eurosat_13", eurosat_13 / UNPACKED, split="spatial", contract=L1C)


def test_a_missing_class_is_named(eurosat_13, tmp_path):
    """Nine folders are no EuroSAT."""
    shutil.copytree(eurosat_13 / UNPACKED, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "Pasture")

    with pytest.raises(SourceInvalid, match="none of Pasture; expected the ten of EuroSAT"):
        open_task("eurosat_13", tmp_path / "a", contract=L1C)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (tile(1)[:12], "12 bands of 64 x 64 px, uint16; expected 13 bands"),
        (tile(1)[:, :32], "13 bands of 32 x 64 px"),
        (tile(1).astype(np.float32), "float32"),
        (-tile(1).astype(np.int16), "values below zero"),
    ],
)
def test_wrong_tiles_are_refused_by_name(eurosat_13, tmp_path, values, message):
    """When they are read."""
    shutil.copytree(eurosat_13 / UNPACKED, tmp_path / "a")
    write_tif(tmp_path / "a" / "River" / "River_3.tif", values)
    everything = open_task("eurosat_13", tmp_path / "a", contract=L1C).everything

    with pytest.raises(SourceInvalid, match=rf"River_3.tif.*{message}"):
        everything.source.pixels(everything.ids.index("River/River_3.tif"), 0)


def test_networks_of_12_and_3_bands_are_fed_by_contract(eurosat_13):
    """Of L2A without B10, and red, green, blue of L1C; not of 8-bit pictures."""
    for contract in (network_input("S2L2A"), network_input("S2L1C", ("B04", "B03", "B02"))):
        source = open_task("eurosat_13", eurosat_13, contract=contract).everything.source
        pixels = source.pixels(0, 0)[10]
        fed = plan_remap(source.contract, contract)(pixels)
        red = fed[contract.bands.index("B04")]
        np.testing.assert_allclose(red, pixels[source.contract.bands.index("B04")] / 10_000, rtol=1e-6)
    with pytest.raises(ContractMismatch, match="S2L1C cannot stand for S2RGB"):
        open_task("eurosat_13", eurosat_13, contract=RGB)


def test_rgb_pictures_and_geotiffs_are_not_mixed_up(eurosat_13, eurosat_rgb):
    """Each task names what it looks for."""
    with pytest.raises(DataMissing, match=r"no .tif, .tiff in the class folders"):
        open_task("eurosat_13", eurosat_rgb, contract=L1C)
    with pytest.raises(DataMissing, match=r"no .jpg, .jpeg, .png in the class folders"):
        open_task("eurosat", eurosat_13 / UNPACKED, contract=RGB)
    with pytest.raises(UnknownName, match=r"no split of eurosat_13 is called 'test'.*reference, torchgeo, spatial"):
        open_task("eurosat_13", eurosat_13, split="test", contract=L1C)


def test_identity_changes_with_the_files(eurosat_13, tmp_path):
    """A tile of another size is another source."""
    shutil.copytree(eurosat_13, tmp_path / "a")
    same = open_task("eurosat_13", tmp_path / "a", contract=L1C).everything.source.identity
    (tmp_path / "a" / UNPACKED / "River" / "River_3.tif").write_bytes(b"II*")

    assert open_task("eurosat_13", eurosat_13, contract=L1C).everything.source.identity == same
    assert open_task("eurosat_13", tmp_path / "a", contract=L1C).everything.source.identity != same
