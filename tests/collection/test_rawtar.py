# SPDX-License-Identifier: Apache-2.0
"""A tar of the raw layout gives the samples that its folders give, and nothing in it is trusted."""

import io
import logging
import random
import shutil
import tarfile
from pathlib import Path

import pytest
from raw_tars import BANDS, PRODUCTS, SIZE, add_file, put_parts, tar_bytes, write_layout, zipped

from ssl4eo.collection import grouping, rawtar, tarstream
from ssl4eo.collection.parts import find_parts
from ssl4eo.collection.published import RawLayout
from ssl4eo.collection.rawtar import RawTarStream
from ssl4eo.errors import ChecksumMismatch, ConfigInvalid, SourceInvalid
from ssl4eo.sample import Sample

IDS = (3, 17, 40)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(tmp_path_factory.mktemp("raw"), IDS)


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Sample]]]:
    """By folder a layout, not to be changed, and the samples that its folders give."""
    roots = {"s2c": template, "s1": write_layout(tmp_path_factory.mktemp("radar"), IDS, "s1")}
    layouts = {folder: RawLayout(root, _size=SIZE) for folder, root in roots.items()}
    return {folder: (roots[folder], {i: layout.read(i) for i in layout.ids()}) for folder, layout in layouts.items()}


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """A copy of the layout, to be changed."""
    return Path(shutil.copytree(template, tmp_path / "raw"))


def stream_of(folder: Path, data: bytes, cuts=(), **options) -> RawTarStream:
    return RawTarStream(find_parts(put_parts(folder, data, cuts)), _size=SIZE, _spacing=40_000, **options)


def read_all(stream: RawTarStream, cursor=None) -> dict[str, object]:
    """By id the sample, or the reason why there is none."""
    found: dict[str, object] = {}
    for parcel in stream.parcels(cursor):
        try:
            found[parcel.location] = stream.open(parcel)
        except SourceInvalid as error:
            found[parcel.location] = str(error)
    return found


def same(left, right) -> bool:
    """Compare samples by all that is in their images."""
    pairs = [(a, b) for name in left.images for a, b in zip(left.images[name], right.images[name], strict=True)]
    fields = ("modality", "time", "product", "crs", "transform", "baseline", "offset")
    return left.location == right.location and all(
        all(getattr(a, f) == getattr(b, f) for f in fields)
        and all(a.pixels[r].tobytes() == b.pixels[r].tobytes() for r in a.pixels)
        for a, b in pairs
    )


def test_the_samples_are_those_of_the_folders(tmp_path: Path, whole) -> None:
    """Whatever the parts: borders within headers, members and the gzip header."""
    root, samples = whole["s2c"]
    data = zipped(tar_bytes(root))
    chance = random.Random(0)
    layout = RawLayout(root, _size=SIZE)

    for number in range(5):
        cuts = sorted({1, 5, *(chance.randrange(len(data)) for _ in range(12))})
        stream = stream_of(tmp_path / f"parts{number}", data, cuts)
        found = read_all(stream)

        assert list(found) == list(samples)
        assert all(same(found[i], samples[i]) for i in found)
        assert (stream.forms, stream.shape, stream.num_seasons) == (layout.forms, layout.shape, 2)
        assert stream.provenance.licence == layout.provenance.licence
        assert stream.identity.startswith("x.tar.gz.partaa ")


@pytest.mark.parametrize("folder", ["s1", "s2c"])
@pytest.mark.parametrize("settings", [{"format": tarfile.GNU_FORMAT}, {"format": tarfile.PAX_FORMAT}])
@pytest.mark.parametrize("top", ["", "./", "some/folder/that/has/" + "a-very-long-name/" * 12])
def test_any_tar_is_read(tmp_path: Path, whole, folder: str, settings, top: str) -> None:
    """GNU long names and PAX headers, folders above, plain and gzipped."""
    root, samples = whole[folder]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **settings) as tar:
        tar.add(root / folder, f"{top}{folder}")
    (tmp_path / "x.tar").write_bytes(out.getvalue())

    plain = read_all(RawTarStream(find_parts(tmp_path / "x.tar"), _size=SIZE))
    packed = read_all(stream_of(tmp_path / "parts", zipped(out.getvalue())))

    assert sorted(plain) == sorted(packed) == list(samples)
    assert all(same(plain[i], samples[i]) and same(packed[i], samples[i]) for i in plain)


def test_every_cursor_leads_to_the_rest(tmp_path: Path, root: Path) -> None:
    """The locations after a parcel are those of the first run, its own not among them."""
    stream = stream_of(tmp_path / "parts", zipped(tar_bytes(root)), (100, 5000))
    parcels = list(stream.parcels(None))

    for number, parcel in enumerate(parcels):
        rest = list(stream.parcels(parcel.cursor))
        assert [p.location for p in rest] == [p.location for p in parcels[number + 1 :]]
        assert [p.payload for p in rest] == [p.payload for p in parcels[number + 1 :]]
        assert [p.cursor for p in rest] == [p.cursor for p in parcels[number + 1 :]]


FILE = f"s2c/0000017/{PRODUCTS['s2c'][0]}/B5.tif"
OTHER = "20210605T105439_20210605T105437_T31UFS"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: (root / FILE).unlink(), "no file .*B5.tif"),
        (lambda root: (root / FILE).write_bytes(b""), "B5.tif cannot be read"),
        (lambda root: (root / FILE).write_bytes((root / FILE).read_bytes()[:-40]), "B5.tif cannot be read"),
        (lambda root: shutil.copy(root / FILE, (root / FILE).with_name("B2.tif")), "6 x 6 px.*12 x 12|2 x 2 px"),
        (lambda root: shutil.rmtree((root / FILE).parent), "1 products in .*expected 2"),
        (lambda root: (root / FILE).parent.with_name(OTHER).mkdir(), "3 products in .*expected 2"),
        (lambda root: (root / FILE).parent.rename((root / FILE).parent.with_name("x")), "no time in its name"),
        (
            lambda root: (root / FILE).parent.rename((root / FILE).parent.with_name(PRODUCTS["s2c"][1][:-1] + "T")),
            "two products of one date",
        ),
        (lambda root: (root / FILE).with_name("metadata.json").write_text("{"), "metadata.json cannot be read"),
    ],
)
def test_a_broken_location_has_the_reason_that_its_folder_has(tmp_path: Path, root: Path, harm, message: str) -> None:
    """The same words but for the place; the other locations are whole."""
    harm(root)
    with pytest.raises(SourceInvalid, match=message) as caught:
        RawLayout(root, num_seasons=2, _size=SIZE).read("0000017")

    found = read_all(stream_of(tmp_path / "parts", zipped(tar_bytes(root))))

    assert found["0000017"] == str(caught.value).replace(f"{root}/", "")
    assert [type(found[i]).__name__ for i in ("0000003", "0000040")] == ["Sample", "Sample"]


def test_the_number_of_seasons_is_that_of_the_first_whole_location(tmp_path: Path, root: Path) -> None:
    """One that lacks a product or a file does not count; another number can be given."""
    shutil.rmtree(root / "s2c/0000003" / PRODUCTS["s2c"][0])
    (root / "s2c/0000003" / PRODUCTS["s2c"][1] / "B5.tif").unlink()
    data = zipped(tar_bytes(root))

    assert stream_of(tmp_path / "parts", data).num_seasons == 2
    assert stream_of(tmp_path / "parts", data, num_seasons=4).num_seasons == 4
    with pytest.raises(ConfigInvalid, match="0 seasons"):
        stream_of(tmp_path / "parts", data, num_seasons=0)


def test_a_tar_without_a_whole_location_tells_no_number(tmp_path: Path, root: Path) -> None:
    """Then it must be given."""
    for path in root.rglob("B5.tif"):
        path.unlink()
    data = zipped(tar_bytes(root))

    with pytest.raises(SourceInvalid, match="give --num-seasons"):
        _ = stream_of(tmp_path / "parts", data).num_seasons
    assert len(read_all(stream_of(tmp_path / "parts", data, num_seasons=2))) == len(IDS)


def hostile(kind: bytes, name: str, target: str = ""):
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)

    return add


@pytest.mark.parametrize(
    "change",
    [
        lambda tar: add_file(tar, "../../escaped"),
        lambda tar: add_file(tar, "/tmp/ssl4eo-escaped"),
        lambda tar: add_file(tar, "s2c/0000041/../../../escaped"),
        lambda tar: add_file(tar, "README"),
        lambda tar: add_file(tar, "s2c/17/B1.tif"),
        hostile(tarfile.SYMTYPE, "link", "/etc/passwd"),
        hostile(tarfile.LNKTYPE, "hard", "/etc/passwd"),
        hostile(tarfile.FIFOTYPE, "pipe"),
        hostile(tarfile.CHRTYPE, "device"),
    ],
)
def test_a_member_of_no_location_is_left_out_with_a_warning(tmp_path: Path, root: Path, change, caplog) -> None:
    """Names that lead elsewhere, links and devices are only words; nothing is written anywhere."""
    stream = stream_of(tmp_path / "parts", zipped(tar_bytes(root, change)))
    before = sorted(tmp_path.rglob("*"))

    with caplog.at_level(logging.WARNING):
        found = read_all(stream)

    assert [type(s).__name__ for s in found.values()] == ["Sample"] * 3
    assert "it belongs to no location" in caplog.text
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/ssl4eo-escaped").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (hostile(tarfile.SYMTYPE, f"s2c/0000040/{OTHER}/B1.tif", "/etc/passwd"), "B1.tif is a symbolic link"),
        (hostile(tarfile.LNKTYPE, f"s2c/0000040/{OTHER}/B1.tif", FILE), "B1.tif is a hard link"),
        (hostile(tarfile.FIFOTYPE, f"s2c/0000040/{OTHER}/B1.tif"), "B1.tif is a pipe"),
        (hostile(tarfile.BLKTYPE, "s2c/0000040/x"), "x is a device"),
        (hostile(b"Z", "s2c/0000040/x"), "x is of type"),
        (hostile(tarfile.SYMTYPE, "s2c/0000040/\udcff/B1.tif"), "B1.tif is a symbolic link"),
        (lambda tar: add_file(tar, FILE.replace("17", "40")), "B5.tif comes twice"),
        (lambda tar: add_file(tar, f"s2c/0000040/{OTHER}/B1.tif", b"x" * 5000), "B1.tif has 5000 bytes"),
        (lambda tar: [add_file(tar, f"s2c/0000040/p{i}/B1.tif") for i in range(200)], "more than 100 files"),
    ],
)
def test_a_location_with_odd_members_is_refused(tmp_path: Path, root: Path, change, message: str, monkeypatch) -> None:
    """Its files cannot be trusted; its memory is bounded; the others are whole."""
    monkeypatch.setattr(grouping, "MAX_FILE", 4000)
    monkeypatch.setattr(grouping, "MAX_FILES", 100)

    found = read_all(stream_of(tmp_path / "parts", zipped(tar_bytes(root, change))))

    assert message.split(maxsplit=1)[0] in str(found["0000040"])
    assert message in str(found["0000040"])
    assert [type(found[i]).__name__ for i in ("0000003", "0000017")] == ["Sample", "Sample"]


def test_a_sparse_member_is_refused(tmp_path: Path, root: Path) -> None:
    """A few bytes can claim to be terabytes of zeros."""

    def add(tar: tarfile.TarFile) -> None:
        name = f"s2c/0000040/{OTHER}/B1.tif"
        info = tarfile.TarInfo(name)
        info.size = 512
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": str(1 << 50),
            "GNU.sparse.map": f"{1 << 49},512",
        }
        tar.addfile(info, io.BytesIO(b"x" * 512))

    found = read_all(stream_of(tmp_path / "parts", zipped(tar_bytes(root, add, format=tarfile.PAX_FORMAT))))

    assert "is a sparse file" in str(found["0000040"])


@pytest.mark.parametrize("name", ["20200101T000000_\udcff", "20200101T000000_a\nb"])
def test_a_name_that_is_no_text_is_refused_in_plain_words(tmp_path: Path, root: Path, name: str) -> None:
    """The reason can be written down; a name of a mile belongs nowhere."""

    def add(tar: tarfile.TarFile) -> None:
        add_file(tar, f"s2c/0000040/{name}/B1.tif")
        add_file(tar, "s2c/0000040/" + "x" * 5000)

    found = read_all(stream_of(tmp_path / "parts", zipped(tar_bytes(root, add))))

    assert "a product called '20200101T000000_" in str(found["0000040"])
    assert str(found["0000040"]).isprintable()
    assert len(str(found["0000040"])) < 500


def test_void_ids_are_left_out(tmp_path: Path, root: Path) -> None:
    """As in the folders."""
    (root / "s2c/0000017").rename(root / "s2c/0125000")

    assert list(read_all(stream_of(tmp_path / "parts", zipped(tar_bytes(root))))) == ["0000003", "0000040"]


def test_a_tar_of_two_modalities_is_refused(tmp_path: Path, root: Path) -> None:
    """Their locations do not come together; the first of the other one stops, also after a cursor."""
    write_layout(root, [5], "s1")
    stream = stream_of(tmp_path / "parts", zipped(tar_bytes(root)))
    first = next(iter(stream_of(tmp_path / "parts", zipped(tar_bytes(root)))._groups(None, None)))

    with pytest.raises(SourceInvalid, match="holds s1 and s2c; expected one modality a tar"):
        read_all(stream)
    with pytest.raises(SourceInvalid, match="holds s1 and s2c"):
        read_all(stream, first[1])


def test_a_tar_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one at its end, a long one after some members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(30):
            add_file(tar, f"x/{number}")

    with pytest.raises(SourceInvalid, match="holds no location"):
        _ = stream_of(tmp_path / "parts", zipped(out.getvalue())).forms
    monkeypatch.setattr(rawtar, "_PATIENCE", 5)
    broken = zipped(out.getvalue()[: 20 * 512])
    with pytest.raises(SourceInvalid, match="holds no location"):
        _ = stream_of(tmp_path / "parts", broken).forms
    with pytest.raises(SourceInvalid, match="cannot be read"):
        _ = stream_of(tmp_path / "parts", b"no tar at all" * 100).forms


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda tar: tar[: tar.rindex(b"B9.tif") + 700], "ends after .* without an end mark"),
        (lambda tar: tar[: tar.rindex(b"s2c/") + 200], "without an end mark|truncated header"),
        (lambda tar: tar.rstrip(b"\0") + b"\0" * (-len(tar.rstrip(b"\0")) % 512), "without an end mark"),
        (lambda tar: flipped(tar, tar.rindex(b"s2c/")), "header before byte .* (is damaged|cannot be read)"),
        (lambda tar: tar + tar, "goes on after its end"),
    ],
)
@pytest.mark.parametrize("pack", [lambda data: data, zipped])
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_that_is_not_whole_is_an_error(tmp_path: Path, root: Path, harm, message: str, pack, kind: int) -> None:
    """What tarfile takes for the end is not one; the last location is not given as if it were whole."""
    stream = stream_of(tmp_path / "parts", pack(harm(tar_bytes(root, format=kind))), num_seasons=2)
    given = []

    with pytest.raises(SourceInvalid, match=message):
        given.extend(parcel.location for parcel in stream.parcels(None))

    assert "0000040" not in given


@pytest.mark.parametrize("size", [-512, 10 << 20])
def test_a_header_with_a_mad_size_is_refused(tmp_path: Path, root: Path, size: int) -> None:
    """Neither a way back nor the whole memory for a name."""

    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("s2c/0000040/x" if size < 0 else "name")
        info.type = tarfile.REGTYPE if size < 0 else tarfile.GNUTYPE_LONGNAME
        info.size = size
        tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
        tar.offset += 512

    stream = stream_of(tmp_path / "parts", zipped(tar_bytes(root, add)))

    with pytest.raises(SourceInvalid, match=r"claims|cannot be read|back"):
        read_all(stream)


def test_swapped_and_missing_last_parts_are_errors(tmp_path: Path, root: Path) -> None:
    """Names are in order, the bytes are not; a stream that lacks its last part is cut short."""
    data = zipped(tar_bytes(root))
    third = len(data) // 3
    parts = put_parts(tmp_path / "parts", data, (third, 2 * third))
    first, second, last = sorted(parts.iterdir())
    first.rename(parts / "t"), second.rename(first), (parts / "t").rename(second)

    with pytest.raises(SourceInvalid):
        read_all(RawTarStream(find_parts(parts), num_seasons=2, _size=SIZE))

    put_parts(parts, data, (third, 2 * third))
    second_bytes = second.read_bytes()
    last.rename(second), second.with_name(last.name).write_bytes(second_bytes)
    with pytest.raises(SourceInvalid):
        read_all(RawTarStream(find_parts(parts), num_seasons=2, _size=SIZE))

    put_parts(parts, data, (third, 2 * third))
    last.unlink()
    with pytest.raises(SourceInvalid, match=r"ends in the middle, at or before byte \d+ of x.tar.gz.partab"):
        read_all(RawTarStream(find_parts(parts), num_seasons=2, _size=SIZE))


def test_a_flipped_byte_is_found_with_and_without_md5(tmp_path: Path, root: Path) -> None:
    """By the part's checksum with its last byte, else by the stream's own."""
    data = zipped(tar_bytes(root))
    cuts = (len(data) // 2,)
    parts = find_parts(put_parts(tmp_path / "parts", flipped(data, len(data) // 3), cuts))

    with pytest.raises(SourceInvalid):
        read_all(RawTarStream(parts, num_seasons=2, _size=SIZE))
    with pytest.raises((ChecksumMismatch, SourceInvalid)):
        read_all(RawTarStream(parts, num_seasons=2, md5={parts[0].name: "0" * 32}, _size=SIZE))
    good = find_parts(put_parts(tmp_path / "parts", data, cuts))
    with pytest.raises(ChecksumMismatch, match="partaa has MD5"):
        read_all(RawTarStream(good, num_seasons=2, md5={good[0].name: "0" * 32}, _size=SIZE))


def test_no_part_is_refused() -> None:
    """There is nothing to name the stream by."""
    with pytest.raises(ConfigInvalid, match="no parts"):
        RawTarStream([])


def test_all_bands_are_asked_for() -> None:
    """The helper writes what the layout has."""
    assert len(BANDS["s2c"]) == 13
    assert tarstream.MAX_HEADER < grouping.MAX_FILE
