# SPDX-License-Identifier: Apache-2.0
"""Published weights from servers that misbehave, from hands, and from nowhere: the right file or a clear error."""

from __future__ import annotations

import hashlib
import logging
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from fault_server import Fault

from ssl4eo.checkpoints import fetching
from ssl4eo.checkpoints.cache import cache_folder, cached_path, fetch_url, fetch_weights, is_offline
from ssl4eo.checkpoints.catalog import card
from ssl4eo.checkpoints.fetching import Bases
from ssl4eo.cli import main
from ssl4eo.errors import (
    Busy,
    ChecksumMismatch,
    ConfigInvalid,
    DataMissing,
    DownloadFailed,
    SourceInvalid,
    UnknownName,
    WriteFailed,
)
from ssl4eo.files import exclusive

MOCO = card("moco_v2.resnet50.s2l1c")
MIRROR, DRIVE = MOCO.holding("backbone")[:2]
FULL = MOCO.holding("full")[0]
MIRROR_PATH = MIRROR.url.removeprefix("https://huggingface.co")
ASKED = f"/download?id={DRIVE.drive_id}&export=download&confirm=t"
CONFIRMED = f"{ASKED}&uuid=1-2"
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = f"""<html><form id="download-form" action="/download" method="get">
<input type="hidden" name="id" value="{DRIVE.drive_id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="1-2"></form></html>""".encode()
QUOTA = b"<html><title>Google Drive - Quota exceeded</title>Too many users have downloaded this file recently</html>"
ATTACHED = {"Content-Disposition": 'attachment; filename="x.pth"', "Content-Type": "application/octet-stream"}


def card_of(data, *, digits=64, drive=True):
    """Make the card of MoCo's files as if they held `data`: the mirror with a hash, the original without."""
    digest = hashlib.sha256(data).hexdigest()[:digits]
    mirror = replace(MIRROR, sha256_start=digest, size=len(data))
    return replace(MOCO, files=(mirror, DRIVE, FULL) if drive else (mirror,))


def bases_of(server):
    return Bases(huggingface=server.url(""), drive=server.url("/download"))


def files_in(folder):
    """Give what lies in a folder besides records and locks, which outlive a failure."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".lock")


# From servers


def test_the_mirror_with_a_hash_comes_first(cache, server, client, data):
    """Into the cache under its name, checked, and from there the next time."""
    server.add(MIRROR_PATH, data)

    path = fetch_weights(card_of(data), client=client, bases=bases_of(server))
    asked = len(server.asked)
    again = fetch_weights(card_of(data), client=client, bases=bases_of(server))

    assert path == again == cache / MIRROR.name
    assert path.read_bytes() == data
    assert len(server.asked) == asked


def test_the_confirmation_page_of_google_drive_is_passed(cache, server, client, data):
    """The file lies under the name of the card, whatever the server calls it."""
    server.add(ASKED, PAGE, headers=HTML)
    server.add(CONFIRMED, data, headers=ATTACHED)

    path = fetch_weights(replace(MOCO, files=(DRIVE,)), client=client, bases=bases_of(server))

    assert path == cache / "B13_rn50_moco_0099.pth"
    assert path.read_bytes() == data


@pytest.mark.parametrize("digits", [8, 64])
def test_a_cut_connection_is_gone_on_with(cache, server, client, data, digits):
    """In one call, where a few drops are overcome."""
    server.add(MIRROR_PATH, data, Fault(cut=30_000), Fault(stall=20_000))

    path = fetch_weights(card_of(data, digits=digits), client=client, bases=bases_of(server))

    assert server.ranges(MIRROR_PATH) == [None, "bytes=30000-", "bytes=50000-"]
    assert path.read_bytes() == data


def test_an_interrupted_fetch_is_gone_on_with_by_the_next(cache, server, client, data):
    """What came is kept; nothing stands under the final name before it is whole."""
    drops = [Fault(cut=60_000), *(Fault(status=503) for _ in range(4))]
    server.add(MIRROR_PATH, data, *drops)
    only = card_of(data, drive=False)
    with pytest.raises(DownloadFailed, match=r"save https://huggingface\.co"):
        fetch_weights(only, client=client, bases=bases_of(server))
    assert not (cache / MIRROR.name).exists()

    path = fetch_weights(only, client=client, bases=bases_of(server))

    assert server.ranges(MIRROR_PATH)[-1] == "bytes=60000-"
    assert path.read_bytes() == data
    assert files_in(cache) == [MIRROR.name]


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_fetch_is_gone_on_with_by_the_next(cache, server, client, ended_by):
    """Of a file of a few MB, too: what had come by the last count is not asked for again."""
    data = random.Random(11).randbytes(3 * fetching.SYNC_EVERY)
    stall = 2 * fetching.SYNC_EVERY + 100_000
    server.add(MIRROR_PATH, data, Fault(stall=stall))
    only = card_of(data, drive=False)
    code = textwrap.dedent(f"""
        from dataclasses import replace
        from ssl4eo.checkpoints.cache import fetch_weights
        from ssl4eo.checkpoints.catalog import card
        from ssl4eo.checkpoints.fetching import Bases
        from ssl4eo.download import Client
        moco = card({MOCO.name!r})
        file = replace(moco.files[0], sha256_start={only.files[0].sha256_start!r}, size={len(data)})
        fetch_weights(replace(moco, files=(file,)), client=Client(read_timeout=60, proxies={{}}),
                      bases=Bases(huggingface={server.url("")!r}), progress=lambda done, _: print(done, flush=True))
    """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) == stall:
                break
        child.send_signal(ended_by)
    server.release.set()
    assert child.returncode == -ended_by
    assert files_in(cache) == [f"{MIRROR.name}.part", f"{MIRROR.name}.part.json"]

    path = fetch_weights(only, client=client, bases=bases_of(server))

    assert path.read_bytes() == data
    assert files_in(cache) == [MIRROR.name]
    first, second = server.ranges(MIRROR_PATH)
    assert first is None
    assert stall - fetching.SYNC_EVERY < int(second.removeprefix("bytes=").removesuffix("-")) <= stall


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(status=403), Fault(headers=HTML)])
def test_the_next_host_is_tried_and_that_is_said(cache, server, client, data, caplog, fault):
    """A mirror that moved, closed, or serves a page gives way to the original."""
    server.add(MIRROR_PATH, data, fault)
    server.add(ASKED, data, headers=ATTACHED)

    with caplog.at_level(logging.INFO):
        path = fetch_weights(card_of(data), client=client, bases=bases_of(server))

    assert path == cache / DRIVE.name
    assert "trying the next host" in caplog.text
    assert f"fetching {DRIVE.name} (SSL4EO-S12) from {DRIVE.url}" in caplog.text


@pytest.mark.parametrize("digits", [8, 64])
def test_a_wrong_hash_is_refused_and_nothing_is_kept(cache, server, client, data, digits):
    """Whether all digits are known or the first eight."""
    server.add(MIRROR_PATH, data[:-1] + b"?")

    with pytest.raises(ChecksumMismatch, match=r"nothing of it was kept.*by hand"):
        fetch_weights(card_of(data, digits=digits, drive=False), client=client, bases=bases_of(server))

    assert files_in(cache) == []
    assert list(cache.rglob("*.json")) == []


def test_a_wrong_mirror_gives_way_to_the_original(cache, server, client, data):
    """A hash that does not hold is a failure of that host."""
    server.add(MIRROR_PATH, data[:-1] + b"?")
    server.add(ASKED, data, headers=ATTACHED)

    assert fetch_weights(card_of(data), client=client, bases=bases_of(server)) == cache / DRIVE.name


def test_a_quota_page_is_an_error_with_the_way_out(cache, server, client):
    """The message says what to save, and where it is found."""
    server.add(ASKED, QUOTA, headers=HTML)

    with pytest.raises(DownloadFailed, match="quota") as refused:
        fetch_weights(replace(MOCO, files=(DRIVE,)), client=client, bases=bases_of(server))

    assert f"save {DRIVE.url} as {cache / DRIVE.name}" in str(refused.value)


@pytest.mark.parametrize("page", [QUOTA, b"\n <!DOCTYPE HTML><p>Sorry</p>"])
def test_a_page_that_claims_to_be_a_file_is_refused(cache, server, client, page):
    """Some servers call a notice a stream of bytes."""
    server.add(ASKED, page, headers=ATTACHED)

    with pytest.raises(SourceInvalid, match="is a web page"):
        fetch_weights(replace(MOCO, files=(DRIVE,)), client=client, bases=bases_of(server))

    assert files_in(cache) == []


def test_no_full_checkpoint_is_fetched_for_a_backbone_that_is_published_alone(cache, server, client, data):
    """It is many times larger: that is for a person to decide."""
    with pytest.raises(DownloadFailed):
        fetch_weights(card_of(data), client=client, bases=bases_of(server))

    assert not any(FULL.drive_id in asked.path for asked in server.asked)


def test_a_second_process_is_told_that_one_is_fetching(cache, server, client, data):
    """Two never write one file."""
    server.add(MIRROR_PATH, data)
    cache.mkdir(parents=True)

    with exclusive(cache / f"{MIRROR.name}.part.lock"), pytest.raises(Busy):
        fetch_weights(card_of(data), client=client, bases=bases_of(server))


def test_progress_is_told_in_bytes(cache, server, client, data):
    """Up to the size of the file."""
    server.add(MIRROR_PATH, data)
    told = []

    fetch_weights(card_of(data), client=client, bases=bases_of(server), progress=lambda *n: told.append(n))

    assert told[-1] == (len(data), len(data))


def test_another_address_of_huggingface_is_taken_from_the_environment(cache, server, client, data, monkeypatch):
    """As its own tools do; the file is known by its real address."""
    server.add(f"/hub{MIRROR_PATH}", data)
    monkeypatch.setenv("HF_ENDPOINT", server.url("/hub/"))

    assert fetch_weights(card_of(data), client=client).read_bytes() == data


def test_the_command_fetches_and_prints_the_path(cache, server, data, monkeypatch, capsys):
    """The path alone on stdout; progress and what is fetched from where on stderr."""
    name = "B2_vith14_mae_ep199_enc.pth"
    file = next(f for f in card("mae.vit_huge_14.s1grd").files if f.name == name)
    server.add(file.url.removeprefix("https://huggingface.co"), data)
    monkeypatch.setenv("HF_ENDPOINT", server.url(""))

    assert main(["checkpoints", "fetch", "mae.vit_huge_14.s1grd"]) == 0

    assert capsys.readouterr().out == f"{cache / name}\n"
    assert (cache / name).read_bytes() == data


# By hand


@pytest.mark.parametrize("name", [MIRROR.name, DRIVE.name, FULL.name])
def test_a_file_placed_by_hand_is_found(cache, server, data, name):
    """Under the name of any file that holds the same, the full checkpoint too; no server is asked."""
    cache.mkdir(parents=True)
    (cache / name).write_bytes(data)

    assert fetch_weights(card_of(data), offline=True) == cache / name
    assert server.asked == []


def test_a_wrong_file_placed_by_hand_is_refused_and_stays(cache, data):
    """It is not ours to remove."""
    cache.mkdir(parents=True)
    (cache / MIRROR.name).write_bytes(data[:-1] + b"?")

    with pytest.raises(ChecksumMismatch, match="remove it and fetch it again"):
        fetch_weights(card_of(data))

    assert (cache / MIRROR.name).exists()


@pytest.mark.parametrize(
    ("content", "message"), [(b"short", "has 5 bytes"), (b"", "has 0 bytes"), (QUOTA, "is a web page.*browser")]
)
def test_what_cannot_be_weights_is_refused(cache, data, content, message):
    """A cut file, an empty one, and the page that Google Drive serves in place of it."""
    cache.mkdir(parents=True)
    (cache / MIRROR.name).write_bytes(content)

    with pytest.raises(SourceInvalid, match=message):
        fetch_weights(card_of(data))


@pytest.mark.parametrize("file", [MIRROR, DRIVE])
def test_a_page_is_put_down_to_its_own_host(cache, file):
    """Only Google Drive asks for confirmation."""
    cache.mkdir(parents=True)
    (cache / file.name).write_bytes(QUOTA)

    with pytest.raises(SourceInvalid, match=r"is a web page.*browser") as refused:
        fetch_weights(replace(MOCO, files=(file,)))

    assert ("Google Drive" in str(refused.value)) is (file is DRIVE)


def test_a_hash_is_computed_once_and_again_when_the_file_was_touched(cache, data, monkeypatch):
    """A record beside it says what it is."""
    computed = []
    original = fetching.hash_file
    monkeypatch.setattr(fetching, "hash_file", lambda *a: computed.append(a) or original(*a))
    cache.mkdir(parents=True)
    path = cache / MIRROR.name
    path.write_bytes(data)

    for _ in range(3):
        fetch_weights(card_of(data))
    assert len(computed) == 1

    path.write_bytes(data[:-1] + b"?")
    with pytest.raises(ChecksumMismatch):
        fetch_weights(card_of(data))


def test_a_cache_that_cannot_be_written_is_read(cache, data, monkeypatch):
    """On a cluster somebody else has filled it."""
    cache.mkdir(parents=True)
    (cache / MIRROR.name).write_bytes(data)
    (cache / ".ssl4eo-download").write_text("no folder can be made here")

    assert fetch_weights(card_of(data)).read_bytes() == data


# Where no cache can be

UNUSABLE = {
    "below a file": lambda folder: folder / "plain" / "x",
    "a file": lambda folder: folder / "plain",
    "a link to nowhere": lambda folder: folder / "link",
    "a name too long": lambda folder: folder / ("x" * 300),
    "no disk": lambda folder: Path("/proc/nope"),
}


@pytest.fixture(params=UNUSABLE)
def unusable(request, tmp_path, monkeypatch):
    """A cache that nobody can make."""
    (tmp_path / "plain").write_text("here first")
    (tmp_path / "link").symlink_to("/proc/nope/nor/there")
    monkeypatch.setenv("SSL4EO_CACHE", str(UNUSABLE[request.param](tmp_path)))


def test_a_cache_that_cannot_be_made_is_told_with_the_way_out(cache, unusable, server, client, data):
    """By a card and by an address; nothing is asked for."""
    url = server.add("/b.pth", data)
    words = r"the cache .* cannot be made or written to \(.+\).*: set SSL4EO_CACHE to one of yours"

    with pytest.raises(WriteFailed, match=words):
        fetch_weights(card_of(data), client=client, bases=bases_of(server))
    with pytest.raises(WriteFailed, match=words):
        fetch_url(url, client=client)
    assert server.asked == []


def test_what_is_in_the_way_of_the_cache_is_named(cache, tmp_path, data, monkeypatch):
    """Offline too: a file cannot be placed by hand there either."""
    (tmp_path / "plain").write_text("here first")
    monkeypatch.setenv("SSL4EO_CACHE", str(tmp_path / "plain" / "x"))

    for offline in (False, True):
        with pytest.raises(WriteFailed, match=f"{tmp_path / 'plain'} is no folder"):
            fetch_weights(card_of(data), offline=offline)


def test_a_folder_where_the_lock_should_be_is_told(cache, server, client, data):
    """Whatever the system refuses on the way is an error of ours."""
    server.add(MIRROR_PATH, data)
    (cache / f"{MIRROR.name}.part.lock").mkdir(parents=True)

    with pytest.raises(WriteFailed, match=r"part\.lock: Is a directory"):
        fetch_weights(card_of(data), client=client, bases=bases_of(server))


def test_the_home_of_nobody_is_no_place_for_a_cache(cache, monkeypatch):
    """The variable is named."""
    monkeypatch.setenv("SSL4EO_CACHE", "~nobody-of-this-name/x")

    with pytest.raises(ConfigInvalid, match=r"'~nobody-of-this-name/x'.*set SSL4EO_CACHE to one"):
        cache_folder()


def test_a_placed_file_that_cannot_be_read_is_told(cache, data, monkeypatch):
    """With its path."""
    cache.mkdir(parents=True)
    (cache / MIRROR.name).write_bytes(data)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(SourceInvalid, match=f"{MIRROR.name} cannot be read .Permission denied"):
        fetch_weights(card_of(data))


def test_a_hub_that_is_no_address_is_refused(cache, data, monkeypatch):
    """The variable is named."""
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example.org")

    with pytest.raises(ConfigInvalid, match=r"HF_ENDPOINT is 'mirror\.example\.org'; expected https://HOST"):
        fetch_weights(card_of(data))


# Nowhere


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_says_where_a_file_would_be_found(cache, server, data, how, monkeypatch):
    """The exact path and the address; no server is asked."""
    if how == "environment":
        monkeypatch.setenv("SSL4EO_OFFLINE", "1")

    with pytest.raises(DataMissing) as missing:
        fetch_weights(card_of(data), offline=True if how == "argument" else None, bases=bases_of(server))

    assert str(cache / MIRROR.name) in str(missing.value)
    assert MIRROR.url in str(missing.value)
    assert server.asked == []


def test_the_argument_decides_over_the_environment(monkeypatch):
    """A program that says so may fetch."""
    monkeypatch.setenv("SSL4EO_OFFLINE", "1")
    assert is_offline()
    assert not is_offline(offline=False)
    monkeypatch.setenv("SSL4EO_OFFLINE", "0")
    assert not is_offline()


def test_what_is_not_published_is_refused():
    """data2vec has no log."""
    with pytest.raises(UnknownName, match="expected one of backbone, full"):
        fetch_weights(card("data2vec.vit_small_16.s2l1c"), holds="log")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"SSL4EO_CACHE": "/a"}, "/a/checkpoints"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/ssl4eo/checkpoints"),
        ({"SSL4EO_CACHE": "", "XDG_CACHE_HOME": ""}, "/home/me/.cache/ssl4eo/checkpoints"),
    ],
)
def test_the_cache_is_where_the_environment_says(environment, folder, monkeypatch):
    """Ours, that of the desktop, or the default."""
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("SSL4EO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert cache_folder() == Path(folder)
    assert cached_path(MIRROR) == Path(folder, MIRROR.name)


# By address


def test_an_address_is_fetched_once(cache, server, client, data):
    """The copy in the cache is not asked for again, and is found offline."""
    url = server.add("/weights/b.pth", data)

    path = fetch_url(url, client=client)
    del server.files["/weights/b.pth"]

    assert path.parent == cache / "urls"
    assert path.name.endswith("-b.pth")
    assert fetch_url(url, offline=True).read_bytes() == data


def test_the_name_of_an_address_stays_in_the_cache_and_is_its_own():
    """Whatever stands in it; two addresses never share a name."""
    urls = [
        f"https://example.org/{path}"
        for path in (
            "a/b.pth", "c/b.pth", "a/b.pth?x=1", "a/b.pth#y", "A/b.pth", "%2e%2e%2f%2e%2e", "..", "a/", "", "x\\..\\y",
            "%00", "x" * 500, "\u00e4" * 300, ".ssl4eo-download/b",
        )
    ]  # fmt: skip

    names = [fetching.file_at(url).name for url in urls]

    assert len({name.lower() for name in names}) == len(urls)
    for name in names:
        folder, last = name.split("/")
        assert folder == "urls"
        assert last.isascii()
        assert len(last) < 150
        assert "\x00" not in last


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "a.pth", "https://", "http://127.0.0.1@x/a",
     "https://[::1"],
)  # fmt: skip
def test_only_https_is_fetched(cache, url):
    """Weights that come in the clear are anybody's."""
    with pytest.raises(ConfigInvalid, match="is not fetched"):
        fetch_url(url)


def test_an_address_may_come_with_a_hash(cache, server, client, data):
    """All digits, or the first ones."""
    url = server.add("/b.pth", data)
    digest = hashlib.sha256(data).hexdigest()

    with pytest.raises(ChecksumMismatch):
        fetch_url(url, sha256_start="0" * 8, client=client)
    with pytest.raises(ConfigInvalid, match="no beginning of a SHA-256"):
        fetch_url(url, sha256_start="xyz", client=client)
    assert fetch_url(url, sha256_start=digest[:8].upper(), client=client).read_bytes() == data


def test_an_address_offline_says_where_it_would_be_found(cache):
    """The path in the cache is named, so that a file can be placed there."""
    with pytest.raises(DataMissing) as missing:
        fetch_url("https://example.org/b.pth", offline=True)

    place = Path(missing.value.where["path"])
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    assert fetch_url("https://example.org/b.pth", offline=True) == place
