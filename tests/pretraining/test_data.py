# SPDX-License-Identifier: Apache-2.0
"""Which pixels a run trains on."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import network_input
from ssl4eo.errors import (
    ConfigInvalid,
    ContractMismatch,
    DataMissing,
    LocationMissing,
    SampleInvalid,
    ShardCorrupt,
    SourceInvalid,
    UnknownName,
)
from ssl4eo.evaluation.tasks.eurosat import CLASSES
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.data import open_training_data

L1C = network_input("S2L1C")
RGB = network_input("S2RGB")


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """Pack 60 small synthetic locations with S2L1C."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    pack(SyntheticPlanet(60, size=24, modalities=("S2L1C",)), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Write ten class folders of ten pictures."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for i in range(10):
            pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
            PillowImage.fromarray(pixels).save(root / name / f"{name}_{i}.png")
    return root


def test_test_locations_are_never_trained_on(planet):
    """The items of a run are the task's training and validation parts."""
    task = open_task("synthetic", planet, contract=L1C)

    data = open_training_data(planet, contract=L1C)

    kept = {int(i) for i in data.source._indices}
    assert kept == {*task.positions["train"].tolist(), *task.positions["validation"].tolist()}
    assert not kept & set(task.positions["test"].tolist())
    assert data.probe is not None


def test_split_none_trains_on_everything(planet):
    """Without a split there is no held-out part and no online reading."""
    data = open_training_data(planet, contract=L1C, split="none")

    assert len(data.source) == 60
    assert data.probe is None


def test_folder_lends_its_training_part(pictures):
    """80 of 100 pictures, none of them of the test part."""
    task = open_task("eurosat", pictures, contract=RGB)

    data = open_training_data(pictures, contract=RGB)

    assert len(data.source) == 80
    assert not set(data.source.indices.tolist()) & set(task.positions["test"].tolist())
    assert data.probe is not None


def test_archive_without_the_modality_is_refused(planet):
    """The message names what the archive holds."""
    with pytest.raises(ContractMismatch, match="S2L1C"):
        open_training_data(planet, contract=network_input("S1GRD"))


def test_nothing_there_and_unknown_split_are_refused(tmp_path, planet):
    """A typing error in path or split is told."""
    with pytest.raises(DataMissing):
        open_training_data(tmp_path / "no.zarr", contract=L1C)
    with pytest.raises(UnknownName):
        open_training_data(planet, contract=L1C, split="refrence")


class Blank(SyntheticPlanet):
    """A planet whose second location has shown nothing at the third date, and little at the first."""

    def read(self, location):
        """Read a location and put out what it showed."""
        sample = super().read(location)
        images = sample.images["S2L1C"]
        if location == self.ids()[1]:
            for band in images[2].pixels.values():
                band[...] = 0
            for band in images[0].pixels.values():
                band[:, 1:] = 0
        return sample


def _folder(path, *, size=(32, 32), black=()):
    """Write ten pictures of two classes, some of them black."""
    for number in range(10):
        (path / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        values = np.full((size[1], size[0], 3), 0 if number in black else 9 + number, np.uint8)
        PillowImage.fromarray(values).save(path / "ab"[number % 2] / f"{number}.png")
    return path


@pytest.mark.parametrize("name", ["folder", "file.zip"])
def test_what_no_picture_can_do_is_told_before_pictures_are_looked_for(tmp_path, name):
    """No folder of pictures has 13 bands: to propose another one, or to unpack it, would lead nowhere."""
    (tmp_path / "folder" / "inner" / "x").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "x" / "a.png").write_bytes(b"x")
    (tmp_path / "file.zip").write_bytes(b"x")

    words = (
        rf"{name} is no archive, and of pictures S2RGB cannot stand for S2L1C; expected an archive that holds S2L1C: "
    )
    with pytest.raises(ContractMismatch, match=words):
        open_training_data(tmp_path / name, contract=network_input("S2L1C"))


def test_folder_of_other_classes_says_that_nothing_is_read_in_passing(tmp_path, caplog):
    """A fifth is held back all the same; on request all is trained on, and nothing is missing."""
    data = open_training_data(_folder(tmp_path), contract=RGB)

    assert data.probe is None
    assert len(data.source) < 10
    assert "classes of " in caplog.text
    assert "no k-NN and probe while training" in caplog.text
    caplog.clear()
    open_training_data(tmp_path, contract=RGB, split="none")
    assert not caplog.text


def test_black_pictures_are_refused_before_training(tmp_path):
    """All are in memory by then; named as they would be hours later."""
    with pytest.raises(SampleInvalid, match=r"2 images show nothing but zeros: a/4\.png at season 0, b/7\.png"):
        open_training_data(_folder(tmp_path, black=(4, 7)), contract=RGB, split="none")


@pytest.mark.parametrize("size", [(32, 96), (96, 32)])
def test_images_that_are_no_squares_are_refused(tmp_path, size):
    """A window is a share of each side: views would be drawn out threefold."""
    with pytest.raises(SourceInvalid, match=f"has images of {size[1]} x {size[0]} px; expected square ones"):
        open_training_data(_folder(tmp_path, size=size), contract=RGB, split="none")


def test_images_of_nothing_are_refused_before_training(tmp_path):
    """Both were flagged by packing; only the one that shows nothing at all is refused, by its name and season."""
    pack(Blank(4, size=24, modalities=("S2L1C",)), tmp_path / "a.zarr", nodata="flag")

    with pytest.raises(SampleInvalid, match=r"1 images show nothing but zeros: 0000001 at season 2; .*--ids") as told:
        open_training_data(tmp_path / "a.zarr", contract=L1C, split="none")
    assert f"`ssl4eo info {shlex.quote(str(tmp_path / 'a.zarr'))} --ids observed > ids.txt`" in told.value.remedy


def test_locations_that_the_refusal_says_to_list_are_taken(tmp_path, capsys):
    """The command of its remedy, word by word; what shows a part only is kept."""
    pack(Blank(4, size=24, modalities=("S2L1C",)), tmp_path / "a.zarr", nodata="flag")
    with pytest.raises(SampleInvalid) as told:
        open_training_data(tmp_path / "a.zarr", contract=L1C, split="none")
    (listing,) = re.findall("`ssl4eo ([^`]*)`", told.value.remedy)
    words, to = listing.split(" > ")
    assert told.value.remedy.endswith(f"--ids {to}")

    assert main(shlex.split(words)) == 0
    (tmp_path / to).write_text(capsys.readouterr().out)

    assert len(open_training_data(tmp_path / "a.zarr", contract=L1C, split="none", ids=tmp_path / to).source) == 3
    capsys.readouterr()
    assert main(["info", str(tmp_path / "a.zarr"), "--ids", "blank"]) == 0
    assert capsys.readouterr().out == "0000001\n"


@pytest.mark.parametrize("contract", [L1C, RGB])
@pytest.mark.parametrize("name", ["a.tif", "wood/a.TIFF"])
def test_folders_of_geotiffs_are_sent_to_packing(tmp_path, name, contract):
    """They may have any bands, and pre-training reads them out of an archive; beside a picture it is not said."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()

    with pytest.raises(DataMissing, match=r"holds GeoTIFFs.*ssl4eo pack \S+ OUT\.zarr.*--data OUT\.zarr"):
        open_training_data(tmp_path, contract=contract)
    (tmp_path / "a.png").touch()
    with pytest.raises((DataMissing, ContractMismatch)) as told:
        open_training_data(tmp_path, contract=contract)
    assert "GeoTIFFs" not in str(told.value)


def ids_file(tmp_path, *names):
    """Write a list of ids."""
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def named(data):
    """List the items of some training data."""
    return [data.source.id_of(item) for item in range(len(data.source))]


def test_listed_locations_are_trained_on(planet, tmp_path):
    """Each once, in the order of the archive; numbers may lack their zeros."""
    data = open_training_data(planet, contract=L1C, split="none", ids=ids_file(tmp_path, 41, "0000007", 7, 12))

    assert named(data) == ["0000007", "0000012", "0000041"]
    assert data.source.is_part
    assert not open_training_data(planet, contract=L1C, split="none").source.is_part


def test_order_of_the_list_changes_nothing(planet, tmp_path):
    """A run may go on with the same locations however they are listed."""
    sources = []
    for number, names in enumerate(((3, 1, 2), (1, 2, 3, 3), (1, 2, 4))):
        (folder := tmp_path / str(number)).mkdir()
        sources.append(open_training_data(planet, contract=L1C, split="none", ids=ids_file(folder, *names)).source)

    assert sources[0].identity == sources[1].identity != sources[2].identity


def test_locations_of_the_test_stay_held_out_whoever_lists_them(planet, tmp_path, caplog):
    """Else the readings of the run, and its test later, would be of what it was trained on."""
    task = open_task("synthetic", planet, contract=L1C)
    test, train = (task.positions[part].tolist() for part in ("test", "train"))

    data = open_training_data(planet, contract=L1C, ids=ids_file(tmp_path, *test, *train))

    assert named(data) == [f"{index:07}" for index in sorted(train)]
    assert data.probe is not None
    assert f"{len(test)} of the {len(test) + len(train)} ids" in caplog.text
    with pytest.raises(ConfigInvalid, match=f"all {len(test)} ids in .* are of the test part"):
        open_training_data(planet, contract=L1C, ids=ids_file(tmp_path, *test))


@pytest.mark.parametrize(
    ("names", "kind", "told"),
    [
        (
            ("0000003", "lake", 99),
            LocationMissing,
            "lacks 2 of the 3 ids in .*: 'lake', '99'; expected some of its 60 ids, .*: leave out those",
        ),
        (("lake", "sea"), LocationMissing, "lacks 2 of the 2 ids in .*: write them as the data do, such as '0000000'$"),
        ((), ConfigInvalid, "lists no id; expected one a line"),
    ],
)
def test_lists_of_what_is_not_there_are_refused(planet, tmp_path, names, kind, told):
    """A run on fewer locations than its user thinks would be no error that anybody sees."""
    with pytest.raises(kind, match=told):
        open_training_data(planet, contract=L1C, split="none", ids=ids_file(tmp_path, *names))


def test_pictures_are_listed_by_their_paths(pictures, tmp_path):
    """Those that the split holds out stay out."""
    wanted = [f"{name}/{name}_{number}.png" for name in CLASSES for number in range(5)]

    whole = open_training_data(pictures, contract=RGB, split="none", ids=ids_file(tmp_path, *wanted))
    split = open_training_data(pictures, contract=RGB, ids=ids_file(tmp_path, *wanted))

    assert named(whole) == wanted
    held_out = set(wanted) - set(named(open_training_data(pictures, contract=RGB)))
    assert named(split) == [name for name in wanted if name not in held_out]
    with pytest.raises(LocationMissing, match=r"River/none\.png"):
        open_training_data(pictures, contract=RGB, ids=ids_file(tmp_path, "River/none.png"))


def test_ids_of_others_are_shown_short_and_without_what_terminals_obey(planet, tmp_path):
    """A file that is no list of ids may be one line of 5 MB, or a screen of escape sequences."""
    with pytest.raises(LocationMissing) as told:
        open_training_data(planet, contract=L1C, ids=ids_file(tmp_path, "x" * 5_000_000, "\x1b[2J"))

    assert len(str(told.value)) < 600
    assert "\x1b" not in str(told.value)


@pytest.mark.parametrize("form", ["./{0}", "{1}/{0}", "{1}/../{2}/{0}", "other/{0}"])
def test_pictures_may_be_listed_as_find_prints_them(pictures, tmp_path, monkeypatch, form):
    """From within the folder, by the whole path or by the folder's name; by another one's they are missing."""
    monkeypatch.chdir(pictures.parent)
    names = ["River/River_3.png", "Forest/Forest_1.png"]
    listed = ids_file(tmp_path, *(form.format(name, pictures, pictures.name) for name in names))

    if form.startswith("other"):
        with pytest.raises(LocationMissing, match=r"such as 'AnnualCrop/AnnualCrop_0\.png'"):
            open_training_data(pictures, contract=RGB, split="none", ids=listed)
    else:
        assert named(open_training_data(pictures, contract=RGB, split="none", ids=listed)) == sorted(names)


def test_pictures_may_be_listed_by_the_name_that_the_folder_was_given(pictures, tmp_path, monkeypatch):
    """As `find DATA` prints them; a picture that has the name as it stands is meant first."""
    monkeypatch.chdir(pictures.parent)
    listed = ids_file(tmp_path, f"{pictures.name}/River/River_3.png")

    data = open_training_data(Path(pictures.name), contract=RGB, split="none", ids=listed)

    assert named(data) == ["River/River_3.png"]


def cut(root, *names):
    """Cut pictures short."""
    for name in names:
        path = root / name
        path.write_bytes(path.read_bytes()[:60])


def test_pictures_that_cannot_be_decoded_are_refused_all_at_once(tmp_path):
    """With the ways out; it named one, and the next one after that was fetched again."""
    names = [f"{'ab'[number % 2]}/{number}.png" for number in range(7)]
    cut(_folder(tmp_path), *names)

    with pytest.raises(SourceInvalid, match=r"^7 of 10 pictures of .* cannot be decoded: a/0\.png, a/2") as told:
        open_training_data(tmp_path, contract=RGB, split="none")
    assert str(told.value).count(".png") == 5
    assert all(way in told.value.remedy for way in ("fetch them again", "--ids", "--engine.damaged replace"))


def test_pictures_that_cannot_be_decoded_may_be_replaced(tmp_path, caplog):
    """The first one, whose size is asked for, too; they are not called black."""
    cut(_folder(tmp_path), "a/0.png", "b/3.png")

    source = open_training_data(tmp_path, contract=RGB, split="none", skip_damaged=True).source

    assert "2 of 10 pictures of " in caplog.text
    assert source.damaged() == ["a/0.png", "b/3.png"]
    with pytest.raises(ShardCorrupt, match=r"0\.png cannot be decoded"):
        source.pixels(0, 0)
    assert source.pixels(1, 0)[10].max() == 11
    cut(tmp_path, *named_pictures(tmp_path))
    with pytest.raises(SourceInvalid, match=r"none of 10 pictures of .* can be decoded"):
        open_training_data(tmp_path, contract=RGB, split="none", skip_damaged=True)


def named_pictures(root):
    """List the pictures of a folder."""
    return [path.relative_to(root).as_posix() for path in sorted(root.glob("*/*.png"))]


def test_readings_in_passing_want_all_pictures(pictures, tmp_path, caplog):
    """They are of the test part's folder, too: a run that goes on without what is damaged would end at the first."""
    root = tmp_path / "copy"
    shutil.copytree(pictures, root)
    cut(root, "AnnualCrop/AnnualCrop_0.png")

    assert open_training_data(root, contract=RGB, skip_damaged=True).probe is None
    assert "no k-NN and probe while training" in caplog.text
    assert open_training_data(pictures, contract=RGB, skip_damaged=True).probe is not None


def test_black_pictures_are_refused_where_not_all_fit_into_memory(tmp_path, monkeypatch):
    """Hours later they would be met; damaged ones among the smallest files are no end of the search."""
    monkeypatch.setattr("ssl4eo.loading.folder.IN_MEMORY_BYTES", 10)
    root = _folder(tmp_path, black=(4, 7))
    with pytest.raises(SampleInvalid, match=r"2 images show nothing but zeros: a/4\.png at season 0, b/7\.png"):
        open_training_data(root, contract=RGB, split="none")
    cut(root, "a/0.png")
    with pytest.raises(SampleInvalid, match="2 images show nothing but zeros"):
        open_training_data(root, contract=RGB, split="none", skip_damaged=True)
    with pytest.raises(SourceInvalid, match=r"1 of 10 pictures of .* cannot be decoded: a/0\.png;"):
        open_training_data(root, contract=RGB, split="none")


def test_pictures_may_be_listed_from_where_one_stands(pictures, tmp_path, monkeypatch):
    """As `find` prints them, however --data spells the folder."""
    monkeypatch.chdir(pictures.parent)
    wanted = [f"River/River_{number}.png" for number in range(3)]

    for start in (pictures.name, f"../{pictures.parent.name}/{pictures.name}", str(pictures)):
        listed = ids_file(tmp_path, *(f"{start}/{name}" for name in wanted))
        for folder in (pictures, Path(pictures.name)):
            assert named(open_training_data(folder, contract=RGB, split="none", ids=listed)) == wanted


def test_all_splits_are_named_where_one_is_not_known(planet):
    """Training on everything is a choice, too."""
    with pytest.raises(UnknownName, match="reference, none"):
        open_training_data(planet, contract=L1C, split="foo")
