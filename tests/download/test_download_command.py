# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo download` as a command: results on stdout, exit statuses, usage errors."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from types import MappingProxyType

import pytest
from fault_server import Fault

from ssl4eo.cli import main
from ssl4eo.commands import download as command
from ssl4eo.download import DATASETS, Checksum, Dataset, FileEntry
from ssl4eo.download import table as table_module


@pytest.fixture
def served(server, monkeypatch):
    """A table of one data set that the loopback serves: a zip file and a list without published facts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images/a.tif", b"pixels" * 1000)
    data = buffer.getvalue()
    checksum = Checksum("md5", hashlib.md5(data).hexdigest())
    files = (
        FileEntry(
            name="x.zip", url=server.add("/x.zip", data), size=len(data), checksum=checksum, subset="images",
            archive="x.zip",
        ),
        FileEntry(name="list.txt", url=server.add("/list.txt", b"a\n"), subset="splits"),
    )  # fmt: skip
    parts = tuple(FileEntry(name=f"p.tar.a{c}", url=server.url(f"/p{c}"), subset="p", archive="p.tar") for c in "ab")
    tables = MappingProxyType(
        {
            "toy": Dataset(name="toy", title="toy", license="MIT", page="https://toy", files=files),
            "cut": Dataset(name="cut", title="cut", license="MIT", page="https://cut", files=parts),
        }
    )
    monkeypatch.setattr(table_module, "DATASETS", tables)
    monkeypatch.setattr(command, "DATASETS", tables)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return server


def test_list_names_every_data_set_with_its_license(capsys):
    """No network is needed."""
    assert main(["download", "--list"]) == 0

    out = capsys.readouterr().out
    assert all(f"{name}: " in out for name in DATASETS)
    assert out.count("license ") >= len(DATASETS)
    assert "rsync" in out


def test_list_as_json_is_the_table(capsys):
    """Unknown sizes are null."""
    assert main(["download", "--list", "--json"]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(DATASETS)


def test_list_of_one_shows_its_files(capsys):
    """With checksums, and what is not known as such."""
    assert main(["download", "raw", "--list"]) == 0

    out = capsys.readouterr().out
    assert "s2_l1c.tar.gz.partaa | size not told | md5 a3ef419cc65c4d8ac19b9acc55726166" in out


def test_dry_run_tells_the_bytes_to_come_and_writes_nothing(tmp_path, capsys, served):
    """Sizes that the table lacks are asked for by HEAD."""
    size = len(served.files["/x.zip"].data)

    assert main(["download", "toy", "--out", str(tmp_path / "o"), "--dry-run", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["bytes_to_come"], told["files_of_unknown_size"]) == (size + 2, 0)
    assert [(a.method, a.path) for a in served.asked] == [("HEAD", "/list.txt")]
    assert not (tmp_path / "o").exists()


def test_dry_run_with_known_sizes_needs_no_network(capsys, served):
    """The table is enough; no folder is needed either."""
    assert main(["download", "toy", "--only", "images", "--dry-run"]) == 0

    assert "1 files" in capsys.readouterr().out
    assert served.asked == []


def test_a_data_set_is_downloaded_and_unpacked(tmp_path, capsys, served):
    """Progress goes to stderr; a second run fetches and unpacks nothing."""
    served.files["/x.zip"].faults = [Fault(cut=10)]
    arguments = ["download", "toy", "--out", str(tmp_path), "--extract", "--json", "--jobs", "2"]

    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert main(arguments) == 0
    again = json.loads(capsys.readouterr().out)

    told = json.loads(out)
    assert [file["verified"] for file in told["files"]] == [True, False]
    assert told["unpacked"] == [str(tmp_path / "images")]
    assert (tmp_path / "images/a.tif").read_bytes() == b"pixels" * 1000
    assert (tmp_path / "list.txt").read_bytes() == b"a\n"
    assert "downloading toy" in err
    assert [file["fetched"] for file in again["files"]] == [0, 0]


def test_one_part_is_downloaded_alone(tmp_path, capsys, served):
    """--only takes a subset or a pattern."""
    assert main(["download", "toy", "--out", str(tmp_path / "a"), "--only", "splits"]) == 0
    assert main(["download", "toy", "--out", str(tmp_path / "b"), "--only", "*.zip"]) == 0

    assert [p.name for p in (tmp_path / "a").iterdir() if p.is_file()] == ["list.txt"]
    assert [p.name for p in (tmp_path / "b").iterdir() if p.is_file()] == ["x.zip"]
    assert "no published checksum" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["download", "eurosta", "--out", "o"], 2, "did you mean eurosat?"),
        (["download"], 2, "no name"),
        (["download", "raw"], 2, "--out DIR"),
        (["download", "raw", "--out", "o", "--only", "s2_l1d"], 2, "did you mean s2_l1c?"),
        (["download", "raw", "--out", "o", "--only", "*partaa", "--extract"], 2, "--only s1_grd"),
        (["download", "compressed", "--out", "o"], 1, "https://mediatum.ub.tum.de/1702379"),
        (["download", "dfc2020-dataport", "--out", "o"], 1, "login"),
        (["download", "so2sat-v2", "--out", "o"], 1, "FTP"),
    ],
)
def test_what_cannot_be_is_told_with_the_way_out(tmp_path, monkeypatch, capsys, arguments, status, words):
    """Usage errors are 2, what only works by hand is 1; nothing is written."""
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == status

    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_is_status_1_without_a_traceback(tmp_path, capsys, served):
    """One clear message."""
    served.files["/x.zip"].faults = [Fault(status=404)]

    assert main(["download", "toy", "--out", str(tmp_path)]) == 1

    err = capsys.readouterr().err
    assert "status 404" in err
    assert "Traceback" not in err
    assert not (tmp_path / "x.zip").exists()


def test_ctrl_c_in_a_stall_ends_at_once_with_status_130(tmp_path, server, data):
    """The command line says so; the next run goes on."""
    url = server.add("/a", data, Fault(stall=100_000))
    # A shell starts what runs in the background with SIGINT ignored, and so would this.
    code = textwrap.dedent(f"""
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from ssl4eo.cli import main
        from ssl4eo.download import Dataset, FileEntry, table
        files = (FileEntry(name="a.bin", url={url!r}),)
        table.DATASETS = {{"toy": Dataset(name="toy", title="t", license="l", page="p", files=files)}}
        sys.exit(main(["download", "toy", "--out", {str(tmp_path)!r}]))
    """)
    sent = threading.Event()
    server.answered = lambda *_: sent.set()
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert sent.wait(60), "the command never asked"
        child.send_signal(signal.SIGINT)
        err = child.stderr.read()

    assert child.returncode == 130
    assert "interrupted" in err
    assert not (tmp_path / "a.bin").exists()


def test_the_command_loads_no_torch():
    """The table is shown at once."""
    code = (
        "import sys; from ssl4eo.cli import main; main(['download', '--list']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'rasterio', 'numpy')))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
