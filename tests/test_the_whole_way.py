# SPDX-License-Identifier: Apache-2.0
"""The whole way, small: planet to report; and from the real raw layout to a trained network."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssl4eo.cli import main
from ssl4eo.demo import DemoConfig, demo
from ssl4eo.errors import CheckpointInvalid
from ssl4eo.files import read_jsonl

SHARED = Path(__file__).resolve().parents[2] / "shared"
SMALL = DemoConfig(num_locations=30, epochs=1, batch_size=8, seeds=(0,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run a small demo once."""
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, demo(out, SMALL, say=lambda _: None)


def test_demo_leaves_archive_runs_scores_and_report(finished):
    """Each stage leaves what its command leaves."""
    out, result = finished

    assert result.report == out / "report" / "report.html"
    scores = list(read_jsonl(out / "seed-0" / "scores.jsonl"))
    assert sorted((s["protocol"], s["pretrained"]) for s in scores) == [
        ("knn", False),
        ("knn", True),
        ("linear", False),
        ("linear", True),
    ]
    assert all(s["synthetic"] and s["num_test"] == 10 for s in scores)
    page = result.report.read_text(encoding="utf-8")
    assert "synthetic" in page.lower()
    assert page.count("data:image/png") >= 3


def test_demo_again_does_only_what_is_missing(finished):
    """A second run keeps archive, weights and scores, byte for byte."""
    out, _ = finished
    kept = ["planet.zarr/zarr.json", "seed-0/backbone.safetensors", "seed-0/scores.jsonl"]
    before = [(out / name).read_bytes() for name in kept]
    said = []

    demo(out, SMALL, say=said.append)

    assert [(out / name).read_bytes() for name in kept] == before
    assert len(said) == 3


def test_demo_of_another_size_is_refused(tmp_path):
    """Results of two sizes are not mixed, from the first moment of the first."""

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path, SMALL, say=interrupt)

    with pytest.raises(CheckpointInvalid, match="choose another --out"):
        demo(tmp_path, dataclasses.replace(SMALL, num_locations=31), say=interrupt)


def test_demo_too_small_to_train_is_refused_before_it_makes_a_planet(tmp_path, capsys):
    """Status 2, a remedy that the command has, and no folder that would then be in the way."""
    status = main(["demo", "--out", str(tmp_path / "demo"), "--num_locations", "60"])

    assert status == 2
    assert "--num_locations" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "tools" / "cut_raw_layout.py").exists(), reason="no real imagery beside the checkout")
def test_real_raw_layout_to_a_trained_network(tmp_path, capsys):
    """Real Sentinel-2 L1C: cut, pack, verify, info, pre-train two epochs with 13 bands, embed a season."""
    import ssl4eo

    tool = [sys.executable, str(SHARED / "tools" / "cut_raw_layout.py"), str(tmp_path / "raw")]
    subprocess.run([*tool, "--limit", "8", "--cities", "paris,nantes,bordeaux,rennes"], check=True, capture_output=True)
    archive, run = str(tmp_path / "a.zarr"), str(tmp_path / "run")

    assert main(["pack", str(tmp_path / "raw"), archive]) == 0
    assert main(["verify", archive]) == 0
    assert main(["info", archive, "--json"]) == 0
    options = ["--engine.epochs", "2", "--engine.batch_size", "4", "--method.queue_size", "16", "--quiet"]
    recipe = ["--recipe", "moco_v2.resnet18.s2l1c.tiny", "--views.view.size", "32"]
    capsys.readouterr()
    assert main(["pretrain", *recipe, "--data", archive, "--out", run, *options, "--json"]) == 0

    opened = ssl4eo.open_archive(archive)
    features = ssl4eo.load_backbone(run).embed(opened.read("S2L1C", location=0, season=1))
    assert opened.num_seasons == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 2 * (len(opened) // 4)
    assert features.shape == (512,)
    assert features.isfinite().all()
