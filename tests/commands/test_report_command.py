# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from ssl4eo.cli import main
from ssl4eo.commands import collect, report


def _log(folder: Path) -> Path:
    folder.mkdir()
    row = {"kind": "step", "step": 0, "epoch": 0.0, "loss": 1.0, "lr": 0.1}
    (folder / "log.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder


def test_the_command_prints_the_page_it_made(tmp_path, capsys):
    """Results go to stdout: the path of the page."""
    status = report.run([_log(tmp_path / "run")], out=tmp_path / "out")

    assert status == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'report.html'}\n"


def test_json_prints_the_results(tmp_path, capsys):
    """What is printed is what is kept."""
    report.run([_log(tmp_path / "run")], out=tmp_path / "out", json=True)

    printed = capsys.readouterr().out

    assert json.loads(printed)["kind"] == "ssl4eo report"
    assert printed == (tmp_path / "out/results.json").read_text(encoding="utf-8")


def test_the_footer_repeats_the_command(tmp_path):
    """Whoever holds the page can make it again."""
    report.run([_log(tmp_path / "run")], out=tmp_path / "out", title="my title")

    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")

    assert f"ssl4eo report {tmp_path / 'run'} --out {tmp_path / 'out'} --title &#x27;my title&#x27;" in page


def test_several_runs_are_given_by_position(tmp_path, capsys):
    """RUN... is one or more folders, before or after the options; --json is a switch."""
    runs = [str(_log(tmp_path / name)) for name in ("a", "b")]
    arguments = [*runs, "--out", str(tmp_path / "out"), "--json"]

    status = main(["report", *arguments])

    assert status == 0
    assert [row["path"] for row in json.loads(capsys.readouterr().out)["runs"]] == runs


@pytest.mark.parametrize("arguments", [["--out", "x"], ["a"]])
def test_runs_and_out_are_required(arguments, capsys):
    """Bad arguments end with status 2."""
    with pytest.raises(SystemExit) as caught:
        main(["report", *arguments])

    assert caught.value.code == 2
    assert "required" in capsys.readouterr().err


def test_what_is_no_run_or_named_twice_or_absent_is_refused_before_anything_is_written(tmp_path, capsys):
    """An archive, a folder without records, one run by two names, an archive that is not there."""
    run, planet = _log(tmp_path / "run"), tmp_path / "a.zarr"
    assert collect.run(out=planet, num_locations=1, size=24, num_seasons=1, modalities=("S2L1C",)) == 0
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))

    for status, words, arguments in [
        (1, "a.zarr is an archive, no run", [planet]),
        (1, "holds no record of a run", [run, tmp_path / "empty"]),
        (1, "no archive nope.zarr", [run, "--archive", "nope.zarr"]),
        (2, "is named twice", [run, f"{tmp_path}/empty/../run"]),
    ]:
        assert main(["report", *map(str, arguments), "--out", str(tmp_path / "out")]) == status
        assert words in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_every_argument_is_documented():
    """The docstring is the help text."""
    names = list(inspect.signature(report.run).parameters)
    lines = (inspect.getdoc(report.run) or "").splitlines()

    assert [name for name in names if not any(line.strip().startswith(f"{name}:") for line in lines)] == []
