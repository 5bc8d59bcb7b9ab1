# SPDX-License-Identifier: Apache-2.0
"""The server: loopback names only, reading only, nothing outside of the scheme, trouble told in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gallery_stage import HOSTILE, damage_chunk, get, serving, write_archive

from ssl4eo.archive.reader import open_archive
from ssl4eo.commands import gallery
from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.gallery.server import Opening, listen
from ssl4eo.gallery.site import Site, folder_of
from ssl4eo.gallery.trouble import trouble_page, without_folders


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("served") / "a.zarr", 4)


@pytest.fixture(scope="module")
def url(archive: Path) -> Iterator[str]:
    with serving(Opening(archive)) as address:
        yield address


def test_the_page_forbids_everything_foreign(url: str) -> None:
    """Its policy allows its own files only; no answer may be framed, sniffed or read by other pages."""
    status, headers, body = get(url, "/")

    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert b"Content-Security-Policy" in body  # a static host sends no header
    assert b"http://" not in body.replace(b"http://www.w3.org", b"")
    assert b"https://" not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]:1", ""])
def test_other_names_for_this_machine_are_refused(url: str, host: str) -> None:
    """A foreign page that makes its own name point here (DNS rebinding) gets nothing."""
    assert get(url, "/data/archive.json", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000"])
def test_names_of_loopback_are_answered(url: str, host: str) -> None:
    """With and without a port."""
    assert get(url, "/data/archive.json", Host=host)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/app/%2e%2e/site.py", "/app/..%2fsite.py", "//etc/passwd",
        "/app/index.html%00", "/%00", "/app/style.css/..", "/data/blocks/0/%2e%2e/ids.json", "/zarr.json", "/app/",
        "/place/..%2f..%2f/x/info.json", "/..%5c..%5cwindows", "/%c0%ae%c0%ae/etc/passwd", "/app/vendor/../main.js",
    ],
)  # fmt: skip
def test_no_path_escapes(url: str, path: str) -> None:
    """Each is 404 with JSON, whatever its spelling."""
    status, headers, body = get(url, path)

    assert status == 404
    assert headers["content-type"] == "application/json"
    assert "wrong" in json.loads(body)


def test_only_reading_is_allowed(url: str) -> None:
    """POST, PUT and DELETE are refused, HEAD has no body."""
    assert [get(url, "/", method)[0] for method in ("POST", "PUT", "DELETE")] == [405] * 3
    assert get(url, "/", "HEAD")[::2] == (200, b"")


def test_a_copy_that_is_still_right_is_not_sent_again(url: str) -> None:
    """The tag of the content decides."""
    tag = get(url, "/data/archive.json")[1]["etag"]

    assert get(url, "/data/archive.json", If_None_Match=tag)[::2] == (304, b"")
    assert get(url, "/data/archive.json", If_None_Match='"other"')[0] == 200


def test_a_damaged_shard_is_told_where_it_is_met(archive: Path, tmp_path: Path) -> None:
    """The rest of the gallery works; the picture's answer says what is wrong and what to do."""
    copy = tmp_path / "b.zarr"
    shutil.copytree(archive, copy)
    shard = next((copy / "S2L2A/10m/bands").glob("c.*"))
    shard.write_bytes(shard.read_bytes()[:100])
    with serving(Opening(copy)) as address:
        status, _, body = get(address, f"/{folder_of('0000001')}/S2L2A-0-true-color-shared.webp")

        assert status == 500
        assert "ssl4eo verify" in json.loads(body)["wrong"]
        assert get(address, f"/{folder_of('0000001')}/S1GRD-0-vv-vh-ratio-shared.webp")[0] == 200
        assert get(address, f"/{folder_of('0000001')}/info.json")[0] == 200


@pytest.mark.parametrize("kind", ["empty", "foreign", "cut", "bytes"])
def test_an_archive_that_cannot_be_read_has_a_page_that_says_so_until_it_is_mended(
    archive: Path, tmp_path: Path, kind: str
) -> None:
    """An empty folder, a foreign Zarr group, cut and binary metadata; then the right one under the same path."""
    path = tmp_path / "c.zarr"
    path.mkdir()
    content = {"foreign": b'{"zarr_format": 3, "node_type": "group"}', "cut": b'{"zarr_', "bytes": b"\xff\xfe\0"}
    if kind in content:
        (path / "zarr.json").write_bytes(content[kind])
    with serving(Opening(path)) as address:
        status, headers, body = get(address, "/")

        assert status == 503
        assert headers["content-type"].startswith("text/html")
        assert b"cannot be shown" in body
        assert b"c.zarr" in body
        assert b"Traceback" not in body
        assert "wrong" in json.loads(get(address, "/data/archive.json")[2])
        shutil.rmtree(path)
        shutil.copytree(archive, path)
        assert get(address, "/data/archive.json")[0] == 200


def test_the_page_of_trouble_escapes_what_it_tells() -> None:
    """A path may be called anything."""
    assert b"<script>" not in trouble_page(HOSTILE)
    assert b"&lt;script&gt;" in trouble_page(HOSTILE)


def test_a_port_that_is_taken_is_told_before_anything_is_read() -> None:
    """The remedy names --port."""
    with listen("127.0.0.1", 0) as bound, pytest.raises(ConfigInvalid, match="--port"):
        listen("127.0.0.1", bound.getsockname()[1])


def test_the_command_line_refuses_what_cannot_be(archive: Path, tmp_path: Path) -> None:
    """Neither or both of --serve and --out, options of the other, an archive that is not there."""
    with pytest.raises(ConfigInvalid, match="neither --serve nor --out"):
        gallery.run(archive)
    with pytest.raises(ConfigInvalid, match="--serve and --out"):
        gallery.run(archive, serve=True, out=tmp_path / "site")
    with pytest.raises(ConfigInvalid, match="--composites"):
        gallery.run(archive, serve=True, composites=["swir"])
    with pytest.raises(DataMissing, match=r"nowhere\.zarr"):
        gallery.run(tmp_path / "nowhere.zarr", serve=True)


def test_who_reaches_this_machine_from_elsewhere_learns_no_folder_of_it(archive: Path, tmp_path: Path) -> None:
    """Beyond loopback errors name files within the archive only; on loopback they tell where it lies."""
    copy = damage_chunk(archive, tmp_path / "b.zarr")
    path = f"/{folder_of('0000000')}/S2L2A-0-true-color-shared.webp"
    (tmp_path / "empty.zarr").mkdir()
    with serving(Opening(copy), hosts=None) as address:
        told = json.loads(get(address, path)[2])["wrong"]
        assert "b.zarr/S2L2A/10m" in told
        assert "ssl4eo verify b.zarr" in told
        assert str(tmp_path) not in told
        assert str(tmp_path) not in get(address, f"/{folder_of('0000000')}/histograms.json")[2].decode()
    with serving(Opening(tmp_path / "empty.zarr"), hosts=None) as address:
        for name in ("/", "/data/archive.json"):
            status, _, body = get(address, name)
            assert status == 503
            assert b"empty.zarr" in body
            assert str(tmp_path).encode() not in body
    with serving(Opening(copy)) as address:
        assert str(tmp_path) in json.loads(get(address, path)[2])["wrong"]


def test_folders_are_taken_out_of_words_whatever_they_are_called() -> None:
    """Known folders may have blanks; any other absolute path keeps its last name; addresses and shares stay."""
    root = Path("/srv/my data")

    assert without_folders("/srv/my data/a.zarr/c.0: cut", root) == "a.zarr/c.0: cut"
    assert without_folders("found '/home/me/e.parquet', /tmp/x; 3/4 of https://host/page", root) == (
        "found 'e.parquet', x; 3/4 of https://host/page"
    )


def test_trouble_of_any_kind_is_told_in_words_and_on_one_line_of_the_log(
    archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody meant to raise, at opening and at a file: no bare 500, no traceback."""

    def broken(path: Path) -> Site:
        raise AttributeError("no such thing\nas this")

    site = Site(open_archive(archive))
    site.files.histograms = broken
    with serving(Opening(archive, broken)) as address:
        status, headers, body = get(address, "/")
        assert (status, headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert b"AttributeError: no such thing as this" in body
    with serving(Opening(archive, lambda _: site)) as address:
        status, _, body = get(address, f"/{folder_of('0000001')}/histograms.json")
        assert status == 500
        assert json.loads(body) == {"wrong": "AttributeError: no such thing as this"}
    told = [record for record in caplog.records if "no such thing" in record.getMessage()]
    assert len(told) == 2
    assert not any("\n" in record.getMessage() or record.exc_info for record in told)


def test_a_file_of_ids_beyond_the_last_is_404(url: str) -> None:
    """A client that counts on finds the end."""
    assert get(url, "/data/ids/0.json")[0] == 200
    assert get(url, "/data/ids/9.json")[0] == 404
