# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo doctor` on a small synthetic archive: figures, words, refusals."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl4eo.cli import main
from ssl4eo.commands import collect, doctor_measure
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.recipes import table
from ssl4eo.recipes.recipe import Recipe
from ssl4eo.recipes.table import RECIPES
from ssl4eo.views.config import PairConfig


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic archive of one modality."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    assert collect.run(out=path, num_locations=3, size=24, num_seasons=2, modalities=("S2L1C",)) == 0
    return path


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Measure as little as possible, on views of 32 px."""
    small, less = _small("small", batch_size=8), _small("less", batch_size=2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LOADING_SECONDS", "LOADER_SECONDS", "COMPUTE_SECONDS"):
            patch.setattr(doctor_measure, name, 0.0)
        patch.setattr(table, "RECIPES", {**RECIPES, "small": small, "less": less, "moco_v2.resnet50.s2l1c": small})
        yield


@pytest.fixture(scope="module")
def words(planet: Path, short: None) -> str:
    """What a recipe with a batch of 8 is told of an archive of 3 locations, in words."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert main(["doctor", "--data", str(planet), "--recipe", "small", "--num_workers", "0"]) == 0
    return told.getvalue()


def _small(name: str, *, batch_size: int) -> Recipe:
    def build(backbone: str, modality: str, name: str) -> PretrainConfig:
        base = RECIPES["moco_v2.resnet18.s2l1c.tiny"].build(backbone, modality, name)
        assert isinstance(base.views, PairConfig)
        view = dataclasses.replace(base.views.view, size=32)
        engine = dataclasses.replace(base.engine, batch_size=batch_size, precision="32-true")
        return dataclasses.replace(base, views=dataclasses.replace(base.views, view=view), engine=engine)

    return Recipe(name, "resnet18", "S2L1C", build, "not yet run")


def test_recipe_and_archive_are_measured_stage_by_stage(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every rate is there and positive; a batch that was made smaller is said to be."""
    status = main(["doctor", "--data", str(planet), "--recipe", "small", "--num_workers", "0", "1", "--json"])

    facts = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (facts["recipe"], facts["synthetic"]) == ("small", True)
    assert [row["num_workers"] for row in facts["loaders"]] == [0, 1]
    rates = [facts["loading"]["read_per_second"], facts["loading"]["render_per_second"]]
    rates += [row["samples_per_second"] for row in facts["loaders"]]
    rates += [facts["compute"]["samples_per_second"], facts["compute"]["photometric_per_second"]]
    assert all(rate > 0 and math.isfinite(rate) for rate in rates)
    assert facts["compute"]["peak_bytes"] > 10e6  # the weights of the network alone are more
    assert (facts["compute"]["batch_size"], facts["compute"]["wanted_batch_size"]) == (4, 8)
    assert facts["compute"]["limit"] == "time"
    assert facts["diagnosis"]["bound"] in ("read", "render", "compute")


def test_words_have_figures_and_units(words: str) -> None:
    """A line a stage, then the finding; SYNTHETIC is said."""
    for part in ("synthetic", "read ", "render ", "views/s", "num_workers 0", "whole step", "GB at most"):
        assert part in words
    assert "4 samples a step, of 8 for lack of time" in words
    assert "samples/s, the device takes" in words


def test_what_a_run_would_be_refused_for_is_told(words: str) -> None:
    """A batch of 8 from 3 locations: speed is measured all the same."""
    assert "WARNING: a run of this recipe over these data would be refused: a batch of 8 from 3 items" in words
    assert "whole step" in words


def test_what_is_doubtful_about_a_run_is_told(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A batch that fits, a queue longer than the data."""
    assert main(["doctor", "--data", str(planet), "--recipe", "less", "--num_workers", "0", "--json"]) == 0

    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "queue_size" in warning
    assert "not shorter than the data (3 items)" in warning


def test_bands_are_those_of_the_run(planet: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """What is read and rendered is what the network is fed, so its figures are those of the run."""
    measured = []
    monkeypatch.setattr(doctor_measure, "examine", lambda config, *rest, **more: measured.append(config) or {})

    assert main(["doctor", "--data", str(planet), "--recipe", "small", "--bands", "B4,B3", "--json"]) == 0

    assert measured[0].contract.bands == ("B04", "B03")


def test_without_a_recipe_nothing_is_computed(planet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading and rendering only."""
    assert main(["doctor", "--data", str(planet), "--num_workers", "0", "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert (facts["recipe"], facts["compute"]) == (None, None)
    assert facts["loading"]["num_samples"] >= 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--data", "nowhere.zarr"], 1, "nowhere.zarr"),
        (["--data", "nowhere.zarr", "--recipe", "small"], 1, "no data at nowhere.zarr"),
        (["--data", "PLANET", "--recipe", "smal"], 2, "did you mean small?"),
        (["--data", "PLANET", "--recipe", "moco_v2.resnet18.s1grd"], 1, "choose a recipe for what it holds"),
        (["--data", "PLANET", "--recipe", "small", "--bands", "B4,VV"], 2, "VV"),
        (["--data", "PLANET", "--num_workers", "-1"], 2, "numbers from 0"),
        (["--data", "PLANET", "--num_workers", "1000000"], 2, "256 at most"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    planet: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    """A missing archive, an unknown recipe, one of another modality, impossible workers."""
    given = [str(planet) if a == "PLANET" else a for a in arguments]

    assert main(["doctor", *given]) == status

    assert words in capsys.readouterr().err
