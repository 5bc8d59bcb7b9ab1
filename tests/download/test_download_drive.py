# SPDX-License-Identifier: Apache-2.0
"""Google Drive: past the confirmation page to the bytes, and clear errors where there are none."""

from __future__ import annotations

import pytest
from fault_server import Fault

from ssl4eo.download import Dataset, DriveFile, download, resolve
from ssl4eo.errors import DownloadFailed

ASKED = "/download?id=abc&export=download&confirm=t"
CONFIRMED = "/download?id=abc&export=download&confirm=t&uuid=1-2"
PAGE = b"""<html><body><p>Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="/download" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="abc"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="1-2"></form></body></html>"""
HTML = {"Content-Type": "text/html; charset=utf-8"}


def dataset_of(server):
    drive = DriveFile(drive_id="abc", fallback="fallback.zip", archive=True, base=server.url("/download"))
    return Dataset(name="d", title="t", license="l", page="p", drive=drive)


def attachment(name):
    return {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": "application/octet-stream"}


def test_a_small_file_comes_at_once(tmp_path, server, client, data):
    """Name and size come from the first answer."""
    server.add(ASKED, data, headers=attachment("x.zip"))

    (entry,) = resolve(dataset_of(server), client)
    download([entry], tmp_path, client=client)

    assert (entry.name, entry.size, entry.archive) == ("x.zip", len(data), "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == data


def test_the_confirmation_page_is_passed(tmp_path, server, client, data):
    """The hidden inputs of its form lead to the file; a drop is resumed there."""
    server.add(ASKED, PAGE, headers=HTML)
    server.add(CONFIRMED, data, Fault(), Fault(cut=1000), headers=attachment("x.zip"))

    (entry,) = resolve(dataset_of(server), client)
    download([entry], tmp_path, client=client)

    assert server.ranges(CONFIRMED) == [None, None, "bytes=1000-"]
    assert (tmp_path / "x.zip").read_bytes() == data


def test_a_file_is_recognized_although_its_address_is_new_each_time(tmp_path, server, client, data):
    """The id names the bytes, not the address with its one-time part."""
    server.add(ASKED, PAGE, headers=HTML)
    server.add(CONFIRMED, data, headers=attachment("x.zip"))
    download(resolve(dataset_of(server), client), tmp_path, client=client)
    server.add(ASKED, PAGE.replace(b"1-2", b"3-4"), headers=HTML)
    server.add(CONFIRMED.replace("1-2", "3-4"), data, headers=attachment("x.zip"))

    (fetched,) = download(resolve(dataset_of(server), client), tmp_path, client=client)

    assert fetched.num_fetched == 0


@pytest.mark.parametrize(
    ("sent", "name"),
    [("../../etc/passwd", "passwd"), ("..\\\\..\\\\x.zip", "x.zip"), ("/abs.zip", "abs.zip"), ("..", "fallback.zip"),
     ("", "fallback.zip"), (".bashrc", "bashrc"), ("C:x.zip", "C_x.zip")],
)  # fmt: skip
def test_the_name_in_the_header_stays_in_the_target(tmp_path, server, client, sent, name):
    """Only a harmless last component is taken."""
    server.add(ASKED, b"abc", headers=attachment(sent))

    download(resolve(dataset_of(server), client), tmp_path / "out", client=client)

    assert (tmp_path / "out" / name).read_bytes() == b"abc"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("page", "match"),
    [
        (b"<title>Google Drive - Quota exceeded</title>Too many users have viewed or downloaded this file", "quota"),
        (b"<html>You need access</html>", "without a download form"),
        (b'<form action="/download"><input type="submit"></form>', "without a download form"),
        (b"", "without a download form"),
    ],
)
def test_a_notice_is_an_error_with_the_way_out(server, client, page, match):
    """Quota, private file, a page that changed."""
    server.add(ASKED, page, headers=HTML)

    with pytest.raises(DownloadFailed, match=f"{match}.*browser"):
        resolve(dataset_of(server), client)


def test_confirmation_in_a_circle_is_an_error(server, client):
    """A form that leads to itself ends."""
    server.add(ASKED, PAGE, headers=HTML)
    server.add(CONFIRMED, PAGE, headers=HTML)

    with pytest.raises(DownloadFailed, match="again and again"):
        resolve(dataset_of(server), client)


def test_a_notice_during_the_download_is_no_file(tmp_path, server, client):
    """The quota can end between the question and the bytes."""
    server.add(ASKED, b"abc", headers=attachment("x.zip"))
    entries = resolve(dataset_of(server), client)
    server.add(ASKED, b"<html>Quota exceeded</html>", headers=HTML)

    with pytest.raises(DownloadFailed):
        download(entries, tmp_path, client=client)

    assert not (tmp_path / "x.zip").exists()
