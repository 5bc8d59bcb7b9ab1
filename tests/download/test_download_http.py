# SPDX-License-Identifier: Apache-2.0
"""Patience, Retry-After, redirects."""

from __future__ import annotations

import email.utils
import logging
import socket
import threading
from types import MappingProxyType

import pytest
from fault_server import Fault

from ssl4eo.download import Client, FileEntry, Retry, fetch
from ssl4eo.download.http import Stopped
from ssl4eo.errors import DownloadFailed


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_honoured(tmp_path, server, client, slept, status):
    """The server's wait is taken, not ours."""
    url = server.add("/a", b"abc", Fault(status=status, headers={"Retry-After": "17"}), Fault(status=status))

    fetch(FileEntry(name="a", url=url), tmp_path, client=client)

    assert slept == [17.0, 2.0]
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_retry_after_as_a_date_is_honoured(tmp_path, server, client, slept, monkeypatch):
    """A date is a wait from now on."""
    monkeypatch.setattr("ssl4eo.download.http.retry_after.__defaults__", (lambda: 1000.0,))
    date = email.utils.formatdate(1042, usegmt=True)
    url = server.add("/a", b"abc", Fault(status=503, headers={"Retry-After": date}))

    fetch(FileEntry(name="a", url=url), tmp_path, client=client)

    assert slept == [42.0]


def test_a_wait_that_is_too_long_ends_with_a_message(tmp_path, server, client, slept):
    """Nobody sits an hour before a bar that stands."""
    url = server.add("/a", b"abc", Fault(status=429, headers={"Retry-After": "7200"}))

    with pytest.raises(DownloadFailed, match="come back in 7200 s"):
        fetch(FileEntry(name="a", url=url), tmp_path, client=client)

    assert slept == []
    assert not (tmp_path / "a").exists()


def test_a_redirect_is_followed_and_the_range_with_it(tmp_path, server, client, data):
    """Each request begins at the address of the table: signed addresses expire."""
    server.add("/real", data, Fault(cut=1000))
    url = server.add("/a", b"", *[Fault(status=302, headers={"Location": "/real"})] * 2)

    fetch(FileEntry(name="a", url=url), tmp_path, client=client)

    assert server.ranges("/real") == [None, "bytes=1000-"]
    assert (tmp_path / "a").read_bytes() == data


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a"])
def test_a_redirect_to_another_scheme_is_refused(tmp_path, server, client, location):
    """Only the web is followed."""
    url = server.add("/a", b"", Fault(status=302, headers={"Location": location}))

    with pytest.raises(DownloadFailed, match="no web address"):
        fetch(FileEntry(name="a", url=url), tmp_path, client=client)


def test_a_redirect_from_https_to_http_is_refused(client, monkeypatch):
    """What began protected does not end in the open."""

    class _Answer:
        status = 302
        headers = MappingProxyType({"Location": "http://elsewhere/a"})

        def close(self):
            pass

    monkeypatch.setattr(Client, "_send", lambda *_: _Answer())

    with pytest.raises(DownloadFailed, match="https all the way"):
        client.request("GET", "https://here/a")


def test_redirects_that_do_not_end_are_refused(tmp_path, server, client):
    """A circle is an error."""
    url = server.add("/a", b"", *[Fault(status=302, headers={"Location": "/a"})] * 50)

    with pytest.raises(DownloadFailed, match="redirects more than"):
        fetch(FileEntry(name="a", url=url), tmp_path, client=client)


def test_an_address_where_nobody_is_is_given_up(tmp_path, client, server):
    """A refused connection may pass, but not for ever."""
    url = server.add("/a", b"")
    server.server_close()
    server.shutdown()

    with pytest.raises(DownloadFailed, match="4 times in a row"):
        fetch(FileEntry(name="a", url=url.replace("127.0.0.1", "127.0.0.2")), tmp_path, client=client)


def unresolved(monkeypatch, *names: str) -> list[str]:
    """Let names be unknown, as without a network; gives those that are asked for."""
    asked, resolve = [], socket.getaddrinfo

    def look_up(host, *arguments, **options):
        if host in names:
            asked.append(host)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_name_that_nobody_knows_is_given_up_soon(tmp_path, client, slept, monkeypatch, caplog):
    """Three tries, each told with its wait; what an address says behind the name is not repeated."""
    asked = unresolved(monkeypatch, "nowhere.invalid")

    with caplog.at_level(logging.INFO), pytest.raises(DownloadFailed, match=r"failed 3 times.*machine is online"):
        fetch(FileEntry(name="a", url="https://nowhere.invalid/a?token=x"), tmp_path, client=client)

    assert len(asked) == 3
    assert slept == [1.0, 2.0]
    assert [r.getMessage() for r in caplog.records] == [
        "nowhere.invalid: try 2 of 3 in 1 s: the name nowhere.invalid cannot be resolved",
        "nowhere.invalid: try 3 of 3 in 2 s: the name nowhere.invalid cannot be resolved",
    ]


def test_a_network_that_goes_away_during_a_download_is_waited_for(tmp_path, server, client, slept, monkeypatch):
    """The name of a server that has answered is right."""
    first = server.add("/a", b"abc")
    fetch(FileEntry(name="a", url=first), tmp_path, client=client)
    slept.clear()
    asked = unresolved(monkeypatch, "127.0.0.1")
    second = server.add("/b", b"abc", Fault(cut=1))

    with pytest.raises(DownloadFailed, match="failed 4 times"):
        fetch(FileEntry(name="b", url=second), tmp_path, client=client)

    assert asked
    assert slept == [1.0, 2.0, 4.0]


def test_each_wait_is_told(tmp_path, server, client, caplog):
    """With the try that comes after it, how long that takes, and why."""
    url = server.add("/a", b"abc", Fault(status=503, headers={"Retry-After": "17"}), Fault(status=500))

    with caplog.at_level(logging.INFO):
        fetch(FileEntry(name="a", url=url), tmp_path, client=client)

    assert [r.getMessage() for r in caplog.records] == [
        "127.0.0.1: try 2 of 4 in 17 s: status 503",
        "127.0.0.1: try 3 of 4 in 2 s: status 500",
    ]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "http://[bad/", "https://"])
def test_what_is_no_web_address_is_refused(tmp_path, client, url):
    """No retry, no traceback."""
    with pytest.raises(DownloadFailed):
        fetch(FileEntry(name="a", url=url), tmp_path, client=client)


def test_a_client_really_waits_by_itself(monkeypatch):
    """Only tests replace the sleep."""
    client, waits = Client(), []
    monkeypatch.setattr(client.stop, "wait", waits.append)

    client.wait(3.0)

    assert waits == [3.0]


def test_a_stopped_client_ends_its_wait():
    """A long Retry-After does not hold up the end of the program."""
    client = Client(retry=Retry())
    threading.Timer(0, client.stop.set).start()

    with pytest.raises(Stopped):
        client.wait(3600)


def test_a_proxy_is_used_for_what_the_environment_names(monkeypatch):
    """https_proxy and no_proxy hold."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.3:3128")
    monkeypatch.setenv("no_proxy", "direct.example")
    client = Client()

    assert client._manager("https://a.example/x").proxy.host == "127.0.0.3"
    assert client._manager("https://direct.example/x").proxy is None
    assert client._manager("http://a.example/x").proxy is None
