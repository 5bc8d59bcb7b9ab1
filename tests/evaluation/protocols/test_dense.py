# SPDX-License-Identifier: Apache-2.0
"""Protocols that say something of every pixel: geometry of maps, what is learned, what stays frozen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ssl4eo.backbones.backbone import untrained
from ssl4eo.backbones.levels import level_maps, level_widths
from ssl4eo.contract import stored
from ssl4eo.evaluation.metrics import map_confusion, measure_change, measure_maps
from ssl4eo.evaluation.network import Network
from ssl4eo.evaluation.protocols.change import DifferenceNet, change, change_as_published
from ssl4eo.evaluation.protocols.dense import turned
from ssl4eo.evaluation.protocols.protocol import Trial
from ssl4eo.evaluation.protocols.segmentation import segmentation, segmentation_linear
from ssl4eo.evaluation.run import evaluate
from ssl4eo.evaluation.tasks.task import UNJUDGED, LabelledPixels, make_task
from ssl4eo.form import Form
from ssl4eo.report.predictions import read_examples
from ssl4eo.views.compose import PLAIN, Geometry, Renderer

SIDE = 32
NETWORKS = ("random.resnet18.s2rgb", "random.vit_nano_8.s2rgb")


class Squares:
    """A bright square on dark ground, at a place of its own; at date 1 it is gone in every other item."""

    title = "synthetic squares"
    synthetic = True
    num_seasons = 2
    identity = "squares"

    def __init__(self, count, *, kind):
        self.count, self.kind = count, kind
        self.contract, self.form = stored("S2RGB"), Form.native("S2RGB")

    def __len__(self):
        return self.count

    def _place(self, index):
        rng = np.random.default_rng(index)
        top, left = rng.integers(0, SIDE - 12, 2)
        return slice(top, top + 12), slice(left, left + 12)

    def map(self, item):
        """Ones where the square is, or is gone; the first row is not judged."""
        out = np.zeros((SIDE, SIDE), np.uint8)
        if self.kind == "segmentation" or item % 2:
            out[self._place(item)] = 1
        out[0] = UNJUDGED
        return out

    def pixels(self, index, season, *, resolutions=None):
        """Draw the square with noise."""
        rng = np.random.default_rng([index, season])
        values = rng.normal(60, 8, (3, SIDE, SIDE))
        if season == 0 or index % 2 == 0:
            values[:, *self._place(index)] += 120
        return {10: values.clip(0, 255).astype(np.uint8)}


def make(kind, count=40):
    """Make a task of squares."""
    source = Squares(count, kind=kind)
    ids = tuple(f"{i:03d}" for i in range(count))
    zeros = np.zeros(count, np.int64)
    everything = LabelledPixels(source, np.arange(count), zeros, np.zeros((count, 0), np.int64), ids, source.map)
    classes = ("ground", "square") if kind == "segmentation" else ("no change", "change")
    return make_task(
        "squares", split="half", classes=classes, everything=everything, test=np.arange(count) < 8, kind=kind
    )


def trial_of(task, name, **changes):
    backbone = untrained(name, image_size=SIDE).eval()
    parts = {part: task.part(part) for part in ("train", "validation")}
    values = {"backbone": backbone, "method": "", "task": task.name, "kind": task.kind, "num_classes": 2, "seed": 0}
    return Trial(**(values | parts | {"test": task.part("test").without_answers()} | changes))


def judged(task, prediction):
    """Measure predicted maps."""
    part = task.part("test")
    rows = [map_confusion(part.maps(i), m, num_classes=2) for i, m in zip(part.items, prediction.maps, strict=True)]
    return (measure_maps if task.kind == "segmentation" else measure_change)(np.stack(rows))


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=3)))
def test_maps_turn_as_images_do(flags):
    """In all eight positions of a square."""
    mirrored, upside_down, is_turned = flags
    geometry = Geometry(PLAIN.window, 0.0, mirrored, upside_down, is_turned)
    values = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)

    image = Renderer(stored("S2RGB"), Form.native("S2RGB"))({10: np.stack([values] * 3)}, 16, geometry)

    np.testing.assert_array_equal(image[0], turned(values, geometry))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_levels_halve_and_end_with_the_network_itself(name):
    """Widths are as told; what is pooled of the last level is the feature of a residual network."""
    backbone = untrained(name, image_size=64).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    levels = level_maps(backbone, images)

    assert tuple(level.shape[1] for level in levels) == level_widths(backbone)
    sides = [level.shape[-1] for level in levels]
    assert sides == ([32, 16, 8, 4, 2] if "resnet" in name else [32, 16, 8, 4])
    if "resnet" in name:
        torch.testing.assert_close(levels[-1].mean(dim=(2, 3)), backbone(images))
    else:
        (grid,) = backbone.net.forward_intermediates(images, indices=[3], norm=True, intermediates_only=True)
        torch.testing.assert_close(levels[2], grid)


def test_levels_of_a_resnet50_are_as_wide_as_published():
    """What the decoder of the reference is built for."""
    assert level_widths(untrained("random.resnet50.s2rgb", image_size=64)) == (64, 256, 512, 1024, 2048)
    assert level_widths(untrained("random.resnet18.s2rgb", image_size=64)) == (64, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        *((segmentation_linear, name) for name in NETWORKS),
        pytest.param(segmentation, NETWORKS[0], marks=pytest.mark.slow),
        (segmentation, NETWORKS[1]),
    ],
)
def test_squares_are_found(protocol, name):
    """Better than calling everything ground, whose IoU is 0.45 on average."""
    task = make("segmentation")
    prediction = protocol(trial_of(task, name, epochs=8))

    measured = judged(task, prediction)

    assert all(m.shape == (SIDE, SIDE) for m in prediction.maps)
    assert measured.measures["mean_iou"].value > 0.6
    assert len(prediction.curve) == 8


@pytest.mark.parametrize("name", [NETWORKS[0], pytest.param(NETWORKS[1], marks=pytest.mark.slow)])
def test_what_is_gone_is_found(name):
    """And what stays is not."""
    task = make("change")
    prediction = change(trial_of(task, name, epochs=8))

    assert judged(task, prediction).measures["f1"].value > 0.6


def test_frozen_network_moves_only_as_the_published_defect(monkeypatch):
    """Statistics of batch norm, by `change_as_published` alone."""
    task, kept = make("change", 24), []
    init = DifferenceNet.__init__

    def keep(self, *args, **kwargs):
        init(self, *args, **kwargs)
        kept.append(self)

    monkeypatch.setattr(DifferenceNet, "__init__", keep)
    for protocol, moves in ((change, False), (change_as_published, True)):
        trial = trial_of(task, NETWORKS[0], epochs=2)
        before = {name: value.clone() for name, value in trial.backbone.state_dict().items()}
        protocol(trial)
        after = kept[-1].backbone.state_dict()
        moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert bool(moved) == moves
        assert all("running" in name or "num_batches" in name for name in moved)


def test_no_change_at_equal_dates():
    """The differences are zero, so all pixels of an untrained decoder get one logit."""
    net = DifferenceNet(untrained(NETWORKS[0], image_size=SIDE), seed=0).eval()
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        other = net(image, torch.rand(1, 3, SIDE, SIDE))
        torch.testing.assert_close(net(image, image), net(image * 0, image * 0))
    assert other.std() > 0


def test_transformer_sees_maps_of_any_size():
    """36 px are no multiple of patches of 8: shown at 32 px (its positions interpolated), predicted at 36."""
    task = make("segmentation", 16)
    source = task.everything.source
    source.map = lambda item: np.pad(Squares.map(source, item), ((0, 4), (0, 4)))
    object.__setattr__(task.everything, "maps", source.map)

    prediction = segmentation_linear(trial_of(task, NETWORKS[1], epochs=1))

    assert prediction.maps[0].shape == (36, 36)
    assert prediction.settings["seen_px"] == 32


@pytest.mark.parametrize(("kind", "metric"), [("segmentation", "mean_iou"), ("change", "f1")])
def test_scores_are_written(kind, metric, tmp_path):
    """One line, with the main measure, values by class and the curve."""
    network = Network(NETWORKS[0], untrained(NETWORKS[0], image_size=SIDE).eval(), None, 0)
    name = "segmentation_linear" if kind == "segmentation" else "change"

    (score,) = evaluate(network, make(kind, 24), [name], out=tmp_path, epochs=1)

    assert (score.metric, score.kind, len(score.curve)) == (metric, kind, 1)
    assert score.interval[0] <= score.value <= score.interval[1]
    assert np.array(score.confusion).sum() == 8 * (SIDE - 1) * SIDE
    examples = read_examples(tmp_path / score.examples)
    assert examples.images.shape == (6, 2 if kind == "change" else 1, SIDE, SIDE, 3)
    source = make(kind, 24).everything.source
    for truth, item in zip(examples.truths, examples.ids, strict=True):
        np.testing.assert_array_equal(truth, source.map(int(item)))
    assert len(set(examples.ids)) == 6
    (longer,) = evaluate(network, make(kind, 24), [name], out=tmp_path, epochs=2)
    assert longer.examples != score.examples  # a quick look does not write over what another score shows
    assert not (tmp_path / "training").exists() or not any((tmp_path / "training").iterdir())
