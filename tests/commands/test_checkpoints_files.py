# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints inspect` and `export`: where they write, and what they refuse before the work."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest

from ssl4eo.checkpoints.cache import OFFLINE_VARIABLE, is_offline
from ssl4eo.cli import main
from ssl4eo.commands import checkpoints_export
from ssl4eo.report.filters import draw_filters

RANDOM = "random.resnet18.s2rgb"
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights that others could have written, with a name that is no formula."""
    path = tmp_path_factory.mktemp("weights") / r"a$\frac$b.pth"
    assert main(["checkpoints", "export", RANDOM, "--form", "timm", "--out", str(path)]) == 0
    return path


@pytest.fixture
def plain(tmp_path):
    """A file that stands where a folder should be."""
    path = tmp_path / "plain"
    path.write_text("here first")
    return path


@pytest.fixture
def forbidden(monkeypatch):
    """No work is begun."""

    def refuse(*_, **__):
        raise AssertionError("the work was begun")

    for what in ("ssl4eo.checkpoints.export.export", "ssl4eo.commands.checkpoints_inspect.inspect"):
        monkeypatch.setattr(what, refuse)


def run(*arguments):
    return main(["checkpoints", *map(str, arguments)])


@pytest.mark.parametrize("name", ["x.png", "x.PNG", "new/x.png"])
def test_filters_are_drawn_into_a_png(weights, tmp_path, capsys, name):
    """Whatever the file of weights is called."""
    out = tmp_path / name

    assert run("inspect", weights, "--filters", out) == 0

    assert out.read_bytes().startswith(PNG)
    assert capsys.readouterr().out.endswith(f"{out}\n")


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("error")
def test_weights_that_are_not_finite_are_drawn_as_zero(odd):
    """One of them does not blank the whole picture; the title counts it."""
    weights = np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)
    zero = weights.copy()
    weights[1, 2, 3, 4], zero[1, 2, 3, 4] = odd, 0

    found = draw_filters(weights, [], title="t")

    assert found == draw_filters(zero, [], title="t (1 are not finite)")
    assert draw_filters(zero * 1e30, [], title="t") == draw_filters(zero, [], title="t")


@pytest.mark.parametrize("name", ["x.jpg", "x", ".png", "x.png.txt"])
def test_filters_of_another_kind_are_refused_before_the_work(weights, tmp_path, capsys, forbidden, name):
    """A PNG under such a name is a lie."""
    assert run("inspect", weights, "--filters", tmp_path / name) == 2

    assert "expected a file that ends in .png: try " in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_filters_of_no_name_are_refused(weights, capsys, forbidden):
    """An empty variable of a script."""
    assert run("inspect", weights, "--filters", "") == 2
    assert "ends in .png: name one" in capsys.readouterr().err


def test_filters_below_a_file_name_what_is_in_the_way(weights, plain, capsys, forbidden):
    """Before the work, and not as a disk that is full."""
    assert run("inspect", weights, "--filters", plain / "x.png") == 1
    assert f"{plain} is no folder" in capsys.readouterr().err


def test_filters_over_a_folder_are_refused(weights, tmp_path, capsys, forbidden):
    """It stays."""
    (tmp_path / "x.png").mkdir()

    assert run("inspect", weights, "--filters", tmp_path / "x.png") == 1
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["timm", "huggingface", "onnx", "published"])
@pytest.mark.parametrize("below", ["x", "x/y"])
def test_an_export_below_a_file_names_what_is_in_the_way(plain, capsys, forbidden, form, below):
    """Of every form, before the work."""
    assert run("export", RANDOM, "--form", form, "--out", plain / below) == 1

    err = capsys.readouterr().err
    assert f"{plain} is no folder" in err
    assert "resume" not in err


def test_an_export_over_something_is_refused_before_the_work(plain, tmp_path, capsys, forbidden):
    """A file or a folder."""
    for target in (plain, tmp_path):
        assert run("export", RANDOM, "--form", "timm", "--out", target) == 1
        assert f"{target} exists" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "switch", "within"), [(None, True, True), ("0", True, True), (None, False, False)])
def test_export_offline_fetches_nothing_and_leaves_no_trace(tmp_path, monkeypatch, before, switch, within):
    """Wherever the source is loaded, also if it fails there; the environment is as it was."""
    seen = []

    def look(*_, **__):
        seen.append(is_offline())
        raise KeyboardInterrupt

    monkeypatch.setattr("ssl4eo.checkpoints.export.export", look)
    if before is None:
        monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(OFFLINE_VARIABLE, before)

    assert run("export", RANDOM, "--form", "timm", "--out", tmp_path / "x", *(["--offline"] if switch else [])) == 130

    assert seen == [within]
    assert os.environ.get(OFFLINE_VARIABLE) == before


def test_the_exporter_of_onnx_keeps_its_steps_to_itself(tmp_path, monkeypatch, caplog):
    """Messages are for what a user can use."""
    caplog.set_level(logging.INFO)  # as the command line has it
    monkeypatch.setattr("ssl4eo.checkpoints.export.export", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    for name in checkpoints_export.CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET)

    with pytest.raises(KeyboardInterrupt):
        checkpoints_export.run_export(RANDOM, "onnx", tmp_path / "x.onnx")

    for name in checkpoints_export.CHATTY:
        assert not logging.getLogger(f"{name}.optimizer").isEnabledFor(logging.INFO)
