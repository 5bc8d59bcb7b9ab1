# SPDX-License-Identifier: Apache-2.0
"""Archives: everything or nothing, and nothing outside."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest

from ssl4eo.download import FileEntry, archives_of, extract
from ssl4eo.errors import Busy, SourceInvalid, TargetExists, WriteFailed
from ssl4eo.files import exclusive

# Archives carry the second they were made in, so their bytes cannot name a test:
# worker processes would collect different names.
named = functools.partial(pytest.mark.parametrize, ids=lambda value: value if isinstance(value, str) else "data")

FILES = {"s1/0000001/a/VV.tif": b"vv" * 5000, "s1/0000002/b/VH.tif": b"vh" * 7000}


def tar_of(files, *, mode="w:gz", members=()):
    """Make a tar file, with odd members at its end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


def zip_of(files, *, links=()):
    """Make a zip file, with links."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def put(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def unpacked(folder):
    """Give what lies below a folder, by relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_untouched(out, archive):
    """Only the archive is there, and nothing beside the target either."""
    assert [p.name for p in out.iterdir()] == [archive]
    assert [p.name for p in out.parent.iterdir()] == [out.name]


@pytest.fixture
def out(tmp_path):
    """A target folder with an empty neighborhood."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@named(
    ("name", "data"),
    [
        ("x.tar.gz", tar_of(FILES)),
        ("x.tgz", tar_of(FILES)),
        ("x.tar", tar_of(FILES, mode="w:")),
        ("x.tar.bz2", bz2.compress(tar_of(FILES, mode="w:"))),
        ("x.tar.xz", lzma.compress(tar_of(FILES, mode="w:"))),
        ("x.zip", zip_of(FILES)),
        ("x.tar.gz", tar_of({f"./{name}": data for name, data in FILES.items()})),
    ],
)
def test_the_one_top_folder_appears_under_its_name(out, name, data):
    """Every kind of archive gives the same files, and no trace of the unpacking."""
    target = extract(name, [put(out, name, data)], out)

    assert target == out / "s1"
    assert unpacked(target) == {k.removeprefix("s1/"): v for k, v in FILES.items()}
    assert sorted(p.name for p in out.iterdir() if p.is_file()) == [name]


def test_several_top_names_get_a_folder_of_their_own(out):
    """A loose archive does not scatter its files."""
    target = extract("loose.zip", [put(out, "loose.zip", zip_of({"a.txt": b"a", "b/c.txt": b"c"}))], out)

    assert target == out / "loose"
    assert unpacked(target) == {"a.txt": b"a", "b/c.txt": b"c"}


def test_parts_are_read_as_one(out):
    """No joined copy is made."""
    whole = tar_of(FILES)
    paths = [
        put(out, "x.tar.gz.partaa", whole[:100]),
        put(out, "x.tar.gz.partab", whole[100:]),
    ]

    assert unpacked(extract("x.tar.gz", paths, out)) == {k.removeprefix("s1/"): v for k, v in FILES.items()}


def _member(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


@pytest.mark.parametrize(
    "member",
    [
        _member("../evil", tarfile.REGTYPE),
        _member("/evil", tarfile.REGTYPE),
        _member("s1/../../evil", tarfile.REGTYPE),
        _member("s1/link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("s1/link", tarfile.SYMTYPE, "../../evil"),
        _member("s1/link", tarfile.LNKTYPE, "../../evil"),
        _member("s1/inner", tarfile.SYMTYPE, "0000001"),
        _member("s1/device", tarfile.CHRTYPE),
        _member("s1/pipe", tarfile.FIFOTYPE),
        _member(".ssl4eo-download/x", tarfile.REGTYPE),
    ],
)
def test_a_tar_member_that_leaves_or_links_is_refused(out, member):
    """The member is named and nothing appears, not even the good ones before it."""
    archive = put(out, "x.tar.gz", tar_of(FILES, members=[member]))

    with pytest.raises(SourceInvalid, match="x.tar.gz.*" + member.name.rsplit("/", 1)[-1]):
        extract("x.tar.gz", [archive], out)

    assert_untouched(out, "x.tar.gz")


@pytest.mark.parametrize("name", ["../evil", "/evil", "s1/../../evil", "..\\evil", "C:/evil"])
def test_a_zip_member_that_leaves_is_refused(out, name):
    """Zipfile would quietly rename it; here it is an error."""
    archive = put(out, "x.zip", zip_of({**FILES, name: b"x"}))

    with pytest.raises(SourceInvalid, match="evil"):
        extract("x.zip", [archive], out)

    assert_untouched(out, "x.zip")


def test_a_link_in_a_zip_is_refused(out):
    """Its mode tells."""
    archive = put(out, "x.zip", zip_of(FILES, links=["s1/link"]))

    with pytest.raises(SourceInvalid, match="s1/link"):
        extract("x.zip", [archive], out)

    assert_untouched(out, "x.zip")


@named(
    ("name", "data"),
    [
        ("x.tar.gz", tar_of(FILES)[:-50]),
        ("x.tar.gz", tar_of(FILES)[:-8] + bytes(8)),
        ("x.tar.gz", gzip.compress(tar_of(FILES, mode="w:")[:10240])),
        ("x.tar.gz", tar_of(FILES)[:60] + b"\xff" * 20 + tar_of(FILES)[80:]),
        ("x.tar.gz", b"no archive"),
        ("x.tar.xz", b"no archive"),
        ("x.tar", b"no archive"),
        ("x.zip", zip_of(FILES)[:-30]),
        ("x.zip", zip_of(FILES)[:60] + b"\xff" * 20 + zip_of(FILES)[80:]),
        ("x.tar.gz", tar_of({})),
        ("x.zip", zip_of({})),
    ],
)
def test_a_damaged_archive_is_told_and_nothing_appears(out, name, data):
    """Cut short, flipped, of another kind, or empty."""
    with pytest.raises(SourceInvalid):
        extract(name, [put(out, name, data)], out)

    assert_untouched(out, name)


def test_what_is_there_is_not_overwritten(out):
    """A folder of the same name stays as it is."""
    (out / "s1").mkdir()
    (out / "s1" / "mine").write_text("x")

    with pytest.raises(TargetExists, match="move it away"):
        extract("x.zip", [put(out, "x.zip", zip_of(FILES))], out)

    assert unpacked(out / "s1") == {"mine": b"x"}


def test_unpacking_again_leaves_what_was_unpacked(out):
    """The second call does nothing; an unfinished folder of a killed run is thrown away."""
    archive = put(out, "x.zip", zip_of(FILES))
    (out / ".x.partial").mkdir()
    (out / ".x.partial" / "half").write_text("x")
    first = extract("x.zip", [archive], out)
    (first / "new").write_text("mine")

    assert extract("x.zip", [archive], out) == first
    assert (first / "new").read_text() == "mine"
    assert not (first / "half").exists()


def test_two_unpackings_do_not_meet(out):
    """The second is refused while the first lives."""
    archive = put(out, "x.zip", zip_of(FILES))

    with exclusive(out / ".x.partial.lock"), pytest.raises(Busy):
        extract("x.zip", [archive], out)


def test_a_zip_that_does_not_fit_is_refused_first(out, monkeypatch):
    """A bomb is not unpacked to see whether it fits."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())

    with pytest.raises(WriteFailed, match="unpacks to 24000 bytes"):
        extract("x.zip", [put(out, "x.zip", zip_of(FILES))], out)

    assert_untouched(out, "x.zip")


def test_archives_are_grouped_with_their_parts_in_order():
    """What is no archive is left out."""
    entries = [FileEntry(name=n, url="u", archive=a) for n, a in [("xab", "x"), ("xaa", "x"), ("y", "y"), ("z", "")]]

    assert {k: [p.name for p in v] for k, v in archives_of(entries).items()} == {"x": ["xaa", "xab"], "y": ["y"]}
