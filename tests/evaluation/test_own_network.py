# SPDX-License-Identifier: Apache-2.0
"""Networks of one's own under judgement: every protocol that fits, and records that say what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.network import load_network, network_of
from ssl4eo.evaluation.run import evaluate
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, make_task
from ssl4eo.form import Form
from ssl4eo.report.records import read_scores

MODULE = """
import torch
from torch import nn
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.contract import network_input

def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return OwnBackbone(net, network_input("S2RGB"), image_size=32, name="tiny", trained=True, method="simclr")

READY = make()
BARE = nn.Flatten()
def other():
    return 3
"""


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )


class Pooled(nn.Module):
    """A small network with maps."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()

    def forward(self, images: Tensor) -> Tensor:
        """Give (B, 32): mean and largest."""
        maps = self.body(images)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def own(**changes) -> OwnBackbone:
    options = {"image_size": 16, "name": "pooled", "trained": True, "levels": lambda net, x: [net.body(x)]} | changes
    return OwnBackbone(Pooled(), network_input("S2RGB"), **options)


def test_features_and_fine_tuning_judge_a_plain_module(pattern_task: Callable[..., Task], tmp_path: Path) -> None:
    """Better than chance, and it stays as it was."""
    network = own()
    before = {name: value.clone() for name, value in network.state_dict().items()}

    scores = evaluate(network, pattern_task(90), ["knn", "linear", "finetune"], out=tmp_path, epochs=2)

    assert all(score.value > 0.5 for score in scores[:2])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {(s.checkpoint, s.backbone, s.pretrained, s.method) for s in scores} == {("pooled", "pooled", True, "")}


def test_records_say_what_is_known_of_it(pattern_task: Callable[..., Task], tmp_path: Path) -> None:
    """Whether it was trained as its owner says; equal hashes for equal weights; no config from beside."""
    (tmp_path / "config.json").write_text(json.dumps({"recipe": "moco_v2.resnet18.s2rgb.tiny", "config": {}}))
    network = network_of(own(trained=False, method="simclr"), name="mine.py:net")
    moved = own()
    with torch.no_grad():
        moved.net.body[0].bias[0] += 1

    (score,) = evaluate(network, pattern_task(60), ["knn"], out=tmp_path)
    evaluate(network_of(own(), name="mine.py:trained"), pattern_task(60), ["knn"], out=tmp_path)

    assert (score.checkpoint, score.pretrained, score.method) == ("mine.py:net", False, "simclr")
    assert network.sha256 == network_of(own()).sha256 == score.checkpoint_sha256
    assert network_of(moved).sha256 != network.sha256
    first, second = read_scores(tmp_path / "scores.jsonl")
    assert (first.pretrained, second.pretrained, second.trained_by) == (False, True, None)


class Squares:
    """Ground with a bright square."""

    title = identity = "synthetic squares"
    synthetic = True
    num_seasons = 1
    contract, form = stored("S2RGB"), Form.native("S2RGB")

    def __len__(self) -> int:
        return 20

    def map(self, item: int) -> np.ndarray:
        """Ones where the square is."""
        out = np.zeros((24, 24), np.uint8)
        top, left = np.random.default_rng(item).integers(0, 12, 2)
        out[top : top + 12, left : left + 12] = 1
        return out

    def pixels(self, index, season, *, resolutions=None) -> dict[int, np.ndarray]:
        """Draw it."""
        return {10: np.repeat(60 + 120 * self.map(index)[None], 3, axis=0)}


def squares() -> Task:
    source, ids = Squares(), tuple(f"{i:03d}" for i in range(20))
    zeros = np.zeros(20, np.int64)
    everything = LabelledPixels(source, np.arange(20), zeros, np.zeros((20, 0), np.int64), ids, source.map)
    return make_task(
        "squares",
        split="half",
        classes=("ground", "square"),
        everything=everything,
        test=np.arange(20) < 6,
        kind="segmentation",
    )


def test_dense_protocols_take_the_maps_that_it_gives(tmp_path: Path) -> None:
    """It is fed the size it says, whatever that of the maps is: a module may take no other."""
    scores = evaluate(own(), squares(), ["segmentation_linear", "segmentation"], out=tmp_path, epochs=1)

    assert [score.settings["seen_px"] for score in scores] == [16, 16]
    assert all(score.num_test == 6 for score in scores)


def test_dense_protocols_refuse_a_network_without_maps_before_any_work(tmp_path: Path) -> None:
    """With the way to give them."""
    with pytest.raises(ConfigInvalid, match=r"pooled gives no maps.*levels="):
        evaluate(own(levels=None), squares(), ["segmentation"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bare_module_is_refused_with_the_door(pattern_task: Callable[..., Task], tmp_path: Path) -> None:
    """It was an AttributeError."""
    with pytest.raises(ConfigInvalid, match=r"a Pooled to judge.*OwnBackbone"):
        evaluate(Pooled(), pattern_task(60), ["knn"], out=tmp_path)


def test_it_is_named_as_an_object_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready or made by a function, of another size on request; what is none is said to be none."""
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    monkeypatch.setenv("PYTHONPATH", "")
    file = tmp_path / "own_networks_of_a_test.py"
    file.write_text(MODULE)

    made, ready = load_network(f"{file}:make", seed=3), load_network(f"{file}:READY", image_size=48)

    assert (made.checkpoint, made.seed, made.pretrained, made.method) == (f"{file}:make", 3, True, "simclr")
    assert (made.sha256, ready.backbone.image_size) == (ready.sha256, 48)
    assert not made.backbone.training
    for name, words in (("BARE", "is a Flatten"), ("other", "is a int"), ("absent", "no network in")):
        with pytest.raises((ConfigInvalid, LookupError), match=words):
            load_network(f"{file}:{name}")
    with pytest.raises(ConfigInvalid, match="the untrained network of"):
        load_network(f"{file}:make", untrained=True)
