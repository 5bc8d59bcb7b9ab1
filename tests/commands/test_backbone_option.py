# SPDX-License-Identifier: Apache-2.0
"""`--backbone` of pretrain, recipes show and doctor: resolved, recorded, refused before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl4eo.cli import main
from ssl4eo.commands.pretrain import build_parser, resolve
from ssl4eo.errors import ConfigInvalid
from ssl4eo.pretraining.config import PretrainConfig

MOCO = ["--recipe", "moco_v3.vit_small_16.s2l1c", "--data", "a.zarr", "--out", "run"]


def _resolved(*arguments: str) -> PretrainConfig:
    parser = build_parser(arguments)
    return resolve(parser, parser.parse_args(list(arguments)))


def test_recipe_resolves_around_another_network() -> None:
    """Options may be changed beside it."""
    config = _resolved(*MOCO, "--backbone", "vit_base_16", "--optimizer.weight_decay", "0.2")

    assert (config.backbone, config.recipe) == ("vit_base_16", "moco_v3.vit_small_16.s2l1c")
    assert (config.optimizer.weight_decay, config.to_json()["backbone"]) == (0.2, "vit_base_16")


def test_defaults_are_those_of_the_network_that_is_asked_for() -> None:
    """SGD 0.03 for DINO with a residual network."""
    config = _resolved("--recipe=dino.vit_small_16.s2l1c", "--backbone=resnet18", "--data", "a.zarr", "--out", "run")

    assert (config.backbone, config.optimizer.name, config.optimizer.lr) == ("resnet18", "sgd", 0.03)


def test_network_is_read_from_a_config_file_too(tmp_path: Path) -> None:
    """And the command line wins over it."""
    path = tmp_path / "c.yaml"
    path.write_text("recipe: dino.vit_small_16.s2l1c\nbackbone: resnet50\ndata: a.zarr\nout: run\n")

    config, other = _resolved("--config", str(path)), _resolved("--config", str(path), "--backbone", "vit_base_16")

    assert (config.backbone, config.optimizer.name) == ("resnet50", "sgd")
    assert (other.backbone, other.optimizer.name) == ("vit_base_16", "adamw")


@pytest.mark.parametrize(
    ("name", "backbone", "words"),
    [
        ("mae.vit_small_16.s2l1c", "resnet50", "a vision transformer"),
        ("dino.vit_small_16.s2l1c", "vit_huge_14", "image_size is 96"),
        ("mae.vit_small_16.s2l1c.tiny", "vit_base_16", "its own network"),
        ("moco_v2.resnet18.s2l1c", "resnet35", "resnet34"),
    ],
)
def test_network_that_cannot_be_had_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, backbone: str, words: str
) -> None:
    """Status 2 for pretrain and for recipes show; no folder of a run."""
    out, network = tmp_path / "run", ["--backbone", backbone]

    assert main(["pretrain", "--recipe", name, "--data", str(tmp_path), "--out", str(out), *network]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()
    assert main(["recipes", "show", name, *network]) == 2
    assert words in capsys.readouterr().err


def test_options_may_make_a_network_fit() -> None:
    """Patches of 12 px do not divide the recipe's views of 224; two blocks are fewer than data2vec's six."""
    mae = ["--recipe", "mae.vit_small_16.s2l2a", "--backbone", "vit_w64d4h4_12", "--data", "a.zarr", "--out", "run"]
    data2vec = ["--recipe", "data2vec.vit_small_16.s2l2a", "--backbone", "vit_w64d2h2_8", *mae[4:]]
    fewer = ["--method.num_masked", "20", "--method.top_blocks", "2"]

    assert _resolved(*mae, "--views.view.size", "48").image_size == 48
    assert _resolved(*data2vec, "--views.view.size", "64", *fewer).backbone == "vit_w64d2h2_8"
    with pytest.raises(ConfigInvalid, match="image_size is 50; expected a multiple of the patches of 12 px"):
        _resolved(*mae, "--views.view.size", "50")
    with pytest.raises(ConfigInvalid, match=r"image_size is 224.*choose one of vit_nano_8, vit_tiny_16"):
        _resolved(*mae)


def test_run_records_its_network_and_does_not_go_on_with_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures of noise are enough: what is in config.json counts."""
    for i in range(8):
        (tmp_path / "pictures" / "a").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / "a" / f"a_{i}.png")
    run = ["pretrain", "--recipe", "dino.resnet18.s2rgb.tiny", "--data", str(tmp_path / "pictures"), "--split", "none"]
    run += ["--out", str(tmp_path / "run"), "--engine.batch_size", "8", "--engine.epochs", "1"]
    run += ["--engine.probe_every", "0", "--quiet"]

    assert main([*run, "--backbone", "vit_nano_8"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    capsys.readouterr()

    assert config["backbone"] == "vit_nano_8"
    assert main([*run, "--resume"]) == 1
    assert "backbone 'vit_nano_8', now 'resnet18'" in capsys.readouterr().err
    assert main([*run, "--resume", "--backbone", "vit_nano_8"]) == 0


def test_recipe_is_shown_around_another_network(capsys: pytest.CaptureFixture[str]) -> None:
    """With that network's config and without the promise of the other."""
    assert main(["recipes", "show", "dino.vit_small_16.s2l1c", "--backbone", "resnet18", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    assert (shown["config"]["backbone"], shown["config"]["optimizer"]["name"]) == ("resnet18", "sgd")
    assert "not yet run" in shown["promise"]


def test_network_without_a_recipe_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to build around it."""
    assert main(["doctor", "--data", "a.zarr", "--backbone", "resnet18"]) == 2
    assert "backbone" in capsys.readouterr().err
