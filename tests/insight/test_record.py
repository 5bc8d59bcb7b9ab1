# SPDX-License-Identifier: Apache-2.0
"""A recording of whole, broken and half-written runs: what there is, and why the rest is not."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from insight_runs import SIZE, tiny, train, write_pictures

from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.cli import main
from ssl4eo.errors import ConfigInvalid, WriteFailed
from ssl4eo.insight import record as module
from ssl4eo.insight.record import record
from ssl4eo.report.insight import PARTS, read_insight


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of MAE, and its pictures."""
    folder = tmp_path_factory.mktemp("insight")
    pictures = write_pictures(folder / "pictures")
    return train(tiny("mae.vit_small_16.s2rgb.tiny"), pictures, folder / "run"), pictures


@pytest.fixture
def run(whole, tmp_path):
    """A copy to break, and the pictures."""
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run", whole[1]


def test_a_recording_of_mae_has_every_part(run):
    """With the shapes that the report draws."""
    path, pictures = run

    insight = read_insight(record(path, data=pictures, samples=3))

    assert [part for part in PARTS if insight.has(part)] == list(PARTS)
    assert not insight.absent
    assert not insight.notes
    arrays = insight.arrays
    assert arrays["views.0"].shape == (3, 1, SIZE, SIZE, 3)
    assert arrays["masks"].sum(axis=1).tolist() == [12] * 3
    assert arrays["attention.maps"].shape == (3, 3, 4, 4)
    np.testing.assert_allclose(arrays["attention.maps"].sum(axis=(2, 3)) + arrays["attention.own"], 1, rtol=1e-5)
    assert arrays["neighbors.pictures"].shape == (3, 7, SIZE, SIZE, 3)
    assert arrays["filters.weights"].shape == (24, 3, 8, 8)
    assert (insight.facts["step"], insight.facts["views_step"], insight.facts["same_data"]) == (2, 1, True)
    seen, original = arrays["reconstruction.hidden"], arrays["reconstruction.original"]
    hidden = (seen == 190).all(axis=3) & (original != 190).any(axis=3)
    assert hidden.mean() == pytest.approx(12 / 16, abs=0.01)
    assert np.array_equal(arrays["reconstruction.predicted"][~hidden], original[~hidden])


def test_a_recording_is_made_once(run, monkeypatch):
    """The same run, images and samples: no network is loaded; other samples or weights: it is made again."""
    path, pictures = run
    made = record(path, data=pictures, samples=2)
    before = made.read_bytes()

    def refuse(*_args):
        raise AssertionError("loaded")

    with monkeypatch.context() as patch:
        patch.setattr(module, "load_left", refuse)
        record(path, data=pictures, samples=2)
        record(path, data=None)  # what was recorded with images serves a page without
        record(path, data=pictures, samples=2, network=False)
        with pytest.raises(AssertionError, match="loaded"):
            record(path, data=pictures, samples=3)
    assert made.read_bytes() == before

    shutil.rmtree(path / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_left", refuse)
        record(path, data=None)  # other weights: without images, the pictures of the earlier ones stay
        with pytest.raises(AssertionError, match="loaded"):
            record(path, data=pictures, samples=2)
    assert made.read_bytes() == before


def test_a_damaged_recording_is_made_again(run):
    """It is not of the run's own records: whoever has the run has it."""
    path, pictures = run
    (path / "insight.npz").write_bytes(b"PK cut short")

    assert read_insight(record(path, data=pictures, samples=2)).has("attention")


def test_without_checkpoints_the_backbone_serves_for_what_it_can(run):
    """Filters, attention and neighbors; a reconstruction needs the decoder."""
    path, pictures = run
    shutil.rmtree(path / "checkpoints")

    insight = read_insight(record(path, data=pictures, samples=2))

    assert insight.has("attention")
    assert insight.has("neighbors")
    assert not insight.has("reconstruction")
    assert "backbone alone" in insight.absent["reconstruction"]
    assert insight.facts["step"] == 2


def test_a_damaged_checkpoint_is_told(run):
    """Cut in its middle, with no backbone yet: what needs no weights is there."""
    path, pictures = run
    (path / "backbone.safetensors").unlink()
    for file in (path / "checkpoints").glob("*.pt"):
        file.write_bytes(file.read_bytes()[:1000])

    insight = read_insight(record(path, data=pictures, samples=2))

    assert insight.has("views")
    assert insight.has("masks")
    for part in ("reconstruction", "attention", "neighbors", "filters"):
        assert "can be read" in insight.absent[part]


def test_a_run_that_has_not_come_to_a_checkpoint_shows_its_first_views(run):
    """Killed within the first epoch."""
    path, pictures = run
    shutil.rmtree(path / "checkpoints")
    (path / "backbone.safetensors").unlink()

    insight = read_insight(record(path, data=pictures, samples=2))

    assert insight.facts["views_step"] == 0
    assert insight.has("views")
    assert "no checkpoint yet" in insight.absent["attention"]


def test_weights_of_another_size_are_told(run):
    """A config that was changed by hand, or a checkpoint that was copied."""
    path, pictures = run
    config = json.loads((path / "config.json").read_text())
    config["config"]["views"]["view"]["size"] = 64
    (path / "config.json").write_text(json.dumps(config))

    insight = read_insight(record(path, data=pictures, samples=2))

    assert "views.view.size 32, not 64" in insight.absent["attention"]
    assert "32 px; config.json says" in insight.absent["filters"]
    assert insight.arrays["views.0"].shape == (2, 1, 64, 64, 3)


def test_a_config_of_another_version_is_told(run):
    """An option that nobody has: nothing can be made again, and the page says so."""
    path, pictures = run
    config = json.loads((path / "config.json").read_text())
    config["config"]["method"]["spin"] = 1
    (path / "config.json").write_text(json.dumps(config))

    insight = read_insight(record(path, data=pictures))

    assert "spin" in insight.absent["everything"]


def test_images_of_another_folder_are_told_apart(run, tmp_path):
    """Shown, and said not to be those of the run."""
    other = write_pictures(tmp_path / "other", seed=1)
    (other / "field" / "more.png").write_bytes((other / "field" / "0.png").read_bytes())

    insight = read_insight(record(run[0], data=other, samples=2))

    assert insight.facts["same_data"] is False
    assert insight.has("views")


def test_images_that_are_gone_leave_the_rest(run, tmp_path):
    """The archive was moved away: filters are there, and the reason for the others."""
    insight = read_insight(record(run[0], data=tmp_path / "gone.zarr", samples=2))

    assert insight.has("filters")
    assert "no data at" in insight.absent["views"]


def test_a_network_that_is_not_finite_is_told(run):
    """The loss diverged: what can be drawn is drawn, and nobody is anybody's neighbor."""
    path, pictures = run
    shutil.rmtree(path / "checkpoints")
    backbone = load_backbone(path)
    with torch.no_grad():
        backbone.net.get_parameter("norm.weight").fill_(torch.nan)
    (path / "backbone.safetensors").unlink()
    save_backbone(backbone, path / "backbone.safetensors", training={"steps": 2})

    insight = read_insight(record(path, data=pictures, samples=2))

    assert insight.has("views")
    assert "finite" in insight.absent["neighbors"]


def test_what_a_method_or_network_cannot_have_is_said(tmp_path, whole):
    """MoCo v2 with a residual network: no masks, no pixels, no attention."""
    run = train(tiny("moco_v2.resnet18.s2rgb.tiny"), whole[1], tmp_path / "run")

    insight = read_insight(record(run, data=whole[1], samples=2))

    for part in ("masks", "reconstruction", "attention"):
        assert insight.absent[part].startswith("does not apply")
    assert insight.num_views == 2
    assert insight.arrays["filters.weights"].shape == (24, 3, 7, 7)


def test_a_folder_of_scores_has_no_recording(tmp_path):
    """Nothing was trained there."""
    assert record(tmp_path, data=None) is None
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_refused(run):
    """No sample; a target that is a folder."""
    with pytest.raises(ConfigInvalid, match="0 samples"):
        record(run[0], data=None, samples=0)
    (run[0] / "taken").mkdir()
    with pytest.raises(WriteFailed):
        record(run[0], data=None, target=run[0] / "taken")


def test_the_command_records_and_draws(run, tmp_path, capsys):
    """One line of the command line from a run to a page with every part."""
    path, pictures = run

    status = main(["report", str(path), "--out", str(tmp_path / "out"), "--archive", str(pictures), "--samples", "2"])

    assert status == 0, capsys.readouterr().err
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f">{title}</h3>" in page for title in PARTS.values())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["runs"][0]["recorded"] == list(PARTS)
    assert "--samples 2" in results["command"]
    assert "is no archive" in page


def test_a_run_may_begin_in_a_folder_that_was_recorded(run, tmp_path):
    """A report of a run that failed before its first step does not stand in the way of the next try."""
    path, pictures = run
    shutil.rmtree(path / "checkpoints")
    for name in ("backbone.safetensors", "log.jsonl"):
        (path / name).unlink()
    record(path, data=None)

    train(tiny("mae.vit_small_16.s2rgb.tiny"), pictures, path)

    assert (path / "backbone.safetensors").is_file()
