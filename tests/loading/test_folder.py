# SPDX-License-Identifier: Apache-2.0
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl4eo.contract import stored
from ssl4eo.errors import DataMissing, ShardCorrupt, SourceInvalid, UnknownName
from ssl4eo.loading import folder as module
from ssl4eo.loading.folder import FolderPixels, ImageFolder


def _picture(path: Path, *, color: tuple[int, int, int] = (1, 2, 3), size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of 10 and 20 PNG pictures, 6 px wide and 4 px high, each of its own color."""
    for name, count in (("field", 10), ("wood", 20)):
        for i in range(count):
            _picture(tmp_path / name / f"{name}_{i}.png", color=(i, 100, 7))
    return tmp_path


def test_scan_lists_sorted_paths_with_alphabetical_labels(pictures: Path) -> None:
    """Paths are sorted as text: field_10 would come before field_2."""
    folder = ImageFolder.scan(pictures)

    names = [path.relative_to(pictures).as_posix() for path in folder.paths]
    assert names == sorted(names)
    assert folder.classes == ("field", "wood")
    assert folder.labels.tolist() == [0] * 10 + [1] * 20


def test_scan_leaves_other_files_alone(pictures: Path) -> None:
    """Lists, notes and pictures outside class folders are no items."""
    (pictures / "wood" / "notes.txt").write_text("x")
    _picture(pictures / "preview.png")

    assert len(ImageFolder.scan(pictures).paths) == 30


def test_scan_takes_jpeg_in_any_case(tmp_path: Path) -> None:
    """.jpg, .jpeg, .png, upper case too."""
    for name in ("a.jpg", "b.JPEG", "c.PNG"):
        _picture(tmp_path / "x" / name)

    assert len(ImageFolder.scan(tmp_path).paths) == 3


def test_missing_and_empty_folders_are_refused_with_the_inner_one(pictures: Path, tmp_path: Path) -> None:
    """One level too high is the common slip."""
    with pytest.raises(DataMissing, match="no folder"):
        ImageFolder.scan(tmp_path / "absent")
    outer = tmp_path / "outer"
    _picture(outer / "EuroSAT_RGB" / "x" / "a.png")
    with pytest.raises(DataMissing, match=r"did you mean .*EuroSAT_RGB"):
        ImageFolder.scan(outer)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissing, match="unpack the data set there first"):
        ImageFolder.scan(tmp_path / "empty")


def test_folders_without_pictures_are_not_proposed(tmp_path: Path) -> None:
    """Files of another kind two levels below, or hidden pictures, do not make a folder one of pictures."""
    for name in ("images/beira/dates.txt", "labels/beira/.cm.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")

    with pytest.raises(DataMissing, match=r"<class>/<picture>: unpack the data set there first$"):
        ImageFolder.scan(tmp_path)


def test_packed_file_is_to_be_unpacked(tmp_path: Path) -> None:
    """It is there, so that "no folder" would be no help."""
    (tmp_path / "EuroSAT_RGB.zip").write_bytes(b"PK")

    with pytest.raises(DataMissing, match=r"EuroSAT_RGB\.zip is a file; expected a folder of.*: unpack it, and name"):
        ImageFolder.scan(tmp_path / "EuroSAT_RGB.zip")


def test_reference_split_is_stratified_80_20_and_deterministic(pictures: Path) -> None:
    """Of 10 and 20 pictures 2 and 4 are test; the parts are sorted, disjoint and everything."""
    folder = ImageFolder.scan(pictures)

    first, second = folder.split("reference"), folder.split("reference")

    assert np.bincount(folder.labels[first["test"]]).tolist() == [2, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate([first["train"], first["test"]])), np.arange(30))
    for part in ("train", "test"):
        np.testing.assert_array_equal(first[part], second[part])
        assert (np.diff(first[part]) > 0).all()


def test_split_none_is_all_training_data(pictures: Path) -> None:
    """Pre-training may use everything."""
    parts = ImageFolder.scan(pictures).split("none")

    assert parts["train"].tolist() == list(range(30))
    assert parts["test"].size == 0


def test_unknown_split_is_refused(pictures: Path) -> None:
    """With a suggestion."""
    with pytest.raises(UnknownName, match="did you mean reference"):
        ImageFolder.scan(pictures).split("referense")


@pytest.mark.parametrize("counts", [(1, 20), (2, 2)])
def test_folders_too_small_to_split_are_refused(tmp_path: Path, counts: tuple[int, int]) -> None:
    """A class of one picture; four pictures, of which one would have to be the test part of two classes."""
    for label, count in enumerate(counts):
        for i in range(count):
            _picture(tmp_path / f"class{label}" / f"{i}.png")

    with pytest.raises(SourceInvalid, match=f"{sum(counts)} pictures, {min(counts)} of the rarest of 2 classes"):
        ImageFolder.scan(tmp_path).split("reference")


def test_pictures_come_as_channels_rows_columns(pictures: Path) -> None:
    """uint8 (3, y, x), red first."""
    source = FolderPixels(ImageFolder.scan(pictures))

    (values,) = source.pixels(3, 0).values()

    assert values.shape == (3, 4, 6)
    assert values.dtype == np.uint8
    assert values[:, 0, 0].tolist() == [3, 100, 7]
    assert source.contract == stored("S2RGB")
    assert list(source.pixels(3, 0)) == [10]


def test_indices_choose_items_and_their_labels(pictures: Path) -> None:
    """Item 0 of a part is the picture that the part names first."""
    source = FolderPixels(ImageFolder.scan(pictures), indices=np.array([12, 1]))

    assert len(source) == 2
    assert source.labels.tolist() == [1, 0]
    assert source.pixels(1, 0)[10][0, 0, 0] == 1


def test_pictures_too_many_for_memory_are_read_one_by_one(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels either way."""
    folder = ImageFolder.scan(pictures)
    kept = FolderPixels(folder)
    kept.load()
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 10)
    read = FolderPixels(folder)
    read.load()

    assert kept._decoded is not None
    assert read._decoded is None
    for i in range(30):
        np.testing.assert_array_equal(kept.pixels(i, 0)[10], read.pixels(i, 0)[10])


def test_source_travels_to_another_process(pictures: Path) -> None:
    """Worker processes get a copy that reads the same."""
    source = FolderPixels(ImageFolder.scan(pictures))

    copy = pickle.loads(pickle.dumps(source))

    np.testing.assert_array_equal(copy.pixels(5, 0)[10], source.pixels(5, 0)[10])


def test_picture_of_another_size_is_named(pictures: Path) -> None:
    """One odd picture is told by its path."""
    _picture(pictures / "wood" / "wood_5.png", size=(5, 4))

    with pytest.raises(SourceInvalid, match=r"wood_5\.png has shape \(3, 4, 5\)"):
        FolderPixels(ImageFolder.scan(pictures)).load()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_pictures_that_are_not_rgb_are_refused(tmp_path: Path, mode: str) -> None:
    """Gray, transparent, palette and 16-bit pictures are something else."""
    (tmp_path / "x").mkdir()
    Image.new(mode, (4, 4)).save(tmp_path / "x" / "a.png")

    with pytest.raises(SourceInvalid, match="picture of mode"):
        ImageFolder.scan(tmp_path).read(0)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.8])
def test_pictures_cut_short_are_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    """At the very start, in the header, in the pixels."""
    path = tmp_path / "x" / f"a{suffix}"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])

    with pytest.raises(SourceInvalid, match="cannot be decoded"):
        ImageFolder.scan(tmp_path).read(0)


def test_text_with_the_name_of_a_picture_is_refused(tmp_path: Path) -> None:
    """What the name says is not believed."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.jpg").write_text("this is no picture")

    with pytest.raises(SourceInvalid, match="cannot be decoded"):
        ImageFolder.scan(tmp_path).read(0)


def test_the_smallest_files_of_each_kind_are_looked_at_for_black_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding all of a folder that does not fit into memory takes hours; a black JPEG is larger than a small PNG."""
    rng = np.random.default_rng(0)
    for suffix in ("png", "JPG"):
        _picture(tmp_path / "x" / f"black.{suffix}", size=(16, 16), color=(0, 0, 0))
        for i in range(50):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "x" / f"{i}.{suffix}")
    read: list[int] = []
    original = ImageFolder.read
    monkeypatch.setattr(ImageFolder, "read", lambda self, number: (read.append(number), original(self, number))[1])
    source = FolderPixels(ImageFolder.scan(tmp_path), in_memory=False)

    assert source.blank() == [("x/black.JPG", 0), ("x/black.png", 0)]
    assert len(read) == 1 + 2 * (1 + module.MOST_SHOWING)


def test_pictures_that_cannot_be_decoded_may_be_told_as_damage(pictures: Path) -> None:
    """Kept in memory or not, as a ledger notes it; evaluation is told as ever, and other pictures are no damage."""
    (pictures / "wood" / "wood_5.png").write_bytes(b"x")
    folder = ImageFolder.scan(pictures)
    number = [path.name for path in folder.paths].index("wood_5.png")

    for in_memory in (True, False):
        source = FolderPixels(folder, in_memory=in_memory, replaceable=True)
        with pytest.raises(ShardCorrupt, match=r"wood_5\.png cannot be decoded") as told:
            source.pixels(number, 0)
        assert told.value.where == {
            "archive": str(pictures), "what": "picture", "location": "wood/wood_5.png", "season": 0
        }  # fmt: skip
        assert source.damaged() == ["wood/wood_5.png"]
        assert source.pixels(0, 0)[10].shape == (3, 4, 6)
        with pytest.raises(SourceInvalid, match="cannot be decoded"):
            FolderPixels(folder, in_memory=in_memory).pixels(number, 0)
    _picture(pictures / "wood" / "wood_5.png", size=(5, 4))
    with pytest.raises(SourceInvalid, match="has shape"):
        FolderPixels(folder, replaceable=True).load()
