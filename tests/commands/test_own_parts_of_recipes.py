# SPDX-License-Identifier: Apache-2.0
"""Parts of a recipe of one's own are of the classes that it gave, however deep, and have their options."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.commands.pretrain import build_parser, resolve
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.config import PretrainConfig

SMALL = (
    "--engine.epochs 1 --engine.batch_size 8 --engine.precision 32-true --engine.probe_every 0 --method.queue_size 16 "
    "--views.first.size 32 --views.second.size 32 --split none --quiet"
)
OWN = '''
import dataclasses
from dataclasses import dataclass, field
from ssl4eo.pretraining.config import EngineConfig, PretrainConfig
from ssl4eo.recipes.recipe import Recipe
from ssl4eo.recipes.table import recipe
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.views.config import OneView, TwoViews, ViewConfig
from ssl4eo.views.photometric import PhotometricConfig

@dataclass(frozen=True)
class Glow(PhotometricConfig):
    halo: float = 0.25

@dataclass(frozen=True)
class Moody(ViewConfig):
    """A view of a mood."""

    mode: str = "plain"
    """The mood."""
    _made: str = "by hand"
    area: int = field(init=False, default=7)

    def alter(self, rng, values, contract):
        values[...] = {"dark": 0, "plain": values}[self.mode]

class Flat(ViewConfig):
    def alter(self, rng, values, contract):
        values[...] = 0

class Slow(OptimizerConfig):
    def peak(self, batch_size):
        return super().peak(batch_size) / 2

@dataclass(frozen=True)
class Named(EngineConfig):
    cluster: str = "none"

@dataclass(frozen=True)
class Experiment(PretrainConfig):
    note: str = "mine"

def of(kind, value, **more):
    return kind(**{f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, **more)

def deep(backbone, modality, name):
    base = recipe("mae.vit_small_16.s2l1c.tiny").build(backbone, modality, name)
    view = of(Moody, base.views.view, _made="elsewhere")
    view = dataclasses.replace(view, photometric=of(Glow, view.photometric))
    parts = {"views": OneView(base.views.pairing, view), "optimizer": of(Slow, base.optimizer)}
    return of(Experiment, dataclasses.replace(base, engine=of(Named, base.engine), **parts), note="here")

def two(first, second):
    def build(backbone, modality, name):
        base = recipe("moco_v2.resnet18.s2l1c.tiny").build(backbone, modality, name)
        views = (of(kind, base.views.view) for kind in (first, second))
        return dataclasses.replace(base, views=TwoViews(base.views.pairing, *views))
    return build

DEEP = Recipe("own.deep", "vit_small_16", "S2L1C", deep, promise="none")
BEGUN = Recipe(
    "own.begun",
    "vit_small_16",
    "S2L1C",
    lambda *args: dataclasses.replace(deep(*args), init_from="mae.vit_small_16.s2l1c"),
    promise="none",
)
PLAIN = Recipe("own.two", "resnet18", "S2L1C", two(ViewConfig, ViewConfig), promise="none")
FLAT = Recipe("own.two", "resnet18", "S2L1C", two(ViewConfig, Flat), promise="none")
MOODY = Recipe("own.two", "resnet18", "S2L1C", two(ViewConfig, Moody), promise="none")
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write the recipes; module and folder are taken away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    (tmp_path / "own_parts.py").write_text(OWN, encoding="utf-8")
    yield str(tmp_path / "own_parts.py")
    sys.modules.pop("own_parts", None)


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 16 synthetic places."""
    path = tmp_path_factory.mktemp("planet") / "archive.zarr"
    pack(SyntheticPlanet(16, seed=1, num_seasons=2, size=48, modalities=("S2L1C",)), path, errors="raise")
    return path


def resolved(*arguments: str) -> PretrainConfig:
    given = [*arguments] if "--config" in arguments else [*arguments, "--data", "d", "--out", "o"]
    parser = build_parser(given)
    return resolve(parser, parser.parse_args(given))


def test_weights_to_begin_with_are_those_of_the_recipe_unless_others_are_named(own: str) -> None:
    """As every other option."""
    assert resolved("--recipe", f"{own}:BEGUN").init_from == "mae.vit_small_16.s2l1c"
    assert resolved("--recipe", f"{own}:BEGUN", "--init-from", "runs/a").init_from == "runs/a"


def classes(part: object) -> dict[str, str]:
    found = {"": type(part).__name__}
    for field in dataclasses.fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{name}".rstrip("."): kind for name, kind in classes(value).items()}
    return found


def test_every_part_is_of_the_class_that_the_recipe_gave(own: str) -> None:
    """With and without overrides; what is no option (a name with _, a field that is computed) is as given."""
    options = {"--views.view.size": 32, "--views.view.mode": "dark", "--views.view.photometric.halo": 0.5}
    options |= {"--views.view.photometric.brightness": 0.1, "--optimizer.lr": 0.5, "--engine.cluster": "small"}

    plain = resolved("--recipe", f"{own}:DEEP")
    changed = resolved("--recipe", f"{own}:DEEP", *(str(word) for pair in options.items() for word in pair))

    kinds = {"": "Experiment", "method": "MAEConfig", "views": "OneView", "views.view": "Moody"}
    kinds |= {"views.view.photometric": "Glow", "optimizer": "Slow", "schedule": "ScheduleConfig", "engine": "Named"}
    assert classes(plain) == classes(changed) == kinds
    for name, value in options.items():
        part = changed
        for word in name.removeprefix("--").split("."):
            part = getattr(part, word)
        assert part == value
    assert (changed.note, changed.views.view._made, changed.views.view.area) == ("here", "elsewhere", 7)
    assert plain.views.view.photometric.halo == 0.25
    assert plain == resolved("--recipe", f"{own}:DEEP", "--views.view.mode", "plain")


def test_a_config_file_has_the_fields_of_ones_own(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As --print_config writes it; --help names them too."""
    changed = ["--recipe", f"{own}:DEEP", "--views.view.mode", "dark", "--views.view.photometric.halo", "0.5"]
    for option in ("--print_config", "--help"):
        with pytest.raises(SystemExit):
            resolved(*changed, option)
        text = capsys.readouterr().out
        if option == "--print_config":
            (tmp_path / "c.yaml").write_text(text)

    assert "--views.view.mode MODE" in text
    assert resolved("--config", str(tmp_path / "c.yaml")) == resolved(*changed)
    (tmp_path / "view.yaml").write_text("mode: dark\nsize: 32\nphotometric:\n  halo: 0.5\n")
    view = resolved("--recipe", f"{own}:DEEP", "--views.view", str(tmp_path / "view.yaml")).views.views[0]
    assert (type(view).__name__, view.mode, view.size, view.photometric.halo) == ("Moody", "dark", 32, 0.5)


@pytest.mark.parametrize("option", ["--views.view.halo", "--views.view.moood"])
def test_an_option_that_no_class_has_is_refused(own: str, option: str) -> None:
    with pytest.raises(SystemExit) as ended:
        resolved("--recipe", f"{own}:DEEP", option, "1")

    assert ended.value.code == 2


def test_runs_show_the_views_of_ones_own_and_go_on(
    own: str, planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A view that is black by a subclass, without a field of its own or with one, is black in the run."""
    small = SMALL.split()

    def losses(name: str, *more: str, out: str) -> list[float]:
        run = ["--recipe", f"{own}:{name}", "--data", str(planet), "--out", str(tmp_path / out)]
        assert main(["pretrain", *run, *small, *more]) == 0
        lines = [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines if line["kind"] == "step"]

    black = losses("FLAT", out="flat")
    assert losses("PLAIN", out="plain") == losses("MOODY", out="moody") != black
    assert losses("MOODY", "--views.second.mode", "dark", out="dark") == black

    stored = json.loads((tmp_path / "dark/config.json").read_text())["config"]["views"]["second"]
    assert (stored["mode"], stored["size"], stored["_made"]) == ("dark", 32, "by hand")
    assert losses("MOODY", "--views.second.mode", "dark", "--resume", out="dark") == black
    other = ["--recipe", f"{own}:MOODY", "--data", str(planet), "--out", str(tmp_path / "dark"), *small, "--resume"]
    assert main(["pretrain", *other]) == 1
    assert "views.second.mode 'dark', now 'plain'" in capsys.readouterr().err
