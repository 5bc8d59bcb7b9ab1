# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/extending run through the command line, as a user runs them, and do what they say."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ssl4eo.archive.reader import open_archive
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.extension import load_own
from ssl4eo.locations.window import Range
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Location

pytestmark = pytest.mark.filterwarnings("ignore:The `srun` command is available")  # where SLURM is

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/extending"
TINY = "--split none --engine.epochs 1 --engine.batch_size 8 --engine.precision 32-true --views.VIEW.size 32"


TASK = f"{EXAMPLES / 'csv_labels.py'}:open_csv_labels"


def labelled(planet: Path, root: Path) -> Path:
    """Make the data of the example's task: the archive, and a table of two classes of its places."""
    root.mkdir()
    (root / "archive.zarr").symlink_to(planet)
    scenes = open_archive(planet).labels("scene")
    halves = sorted(set(scenes))[: len(set(scenes)) // 2]
    rows = [f"{i},{'one' if s in halves else 'other'}" for i, s in zip(open_archive(planet).ids, scenes, strict=True)]
    (root / "labels.csv").write_text("\n".join(["id,class", *rows]))
    return root


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    yield
    for name in {path.stem for path in EXAMPLES.glob("*.py")} & set(sys.modules):
        del sys.modules[name]


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 24 synthetic places."""
    path = tmp_path_factory.mktemp("planet") / "archive.zarr"
    pack(SyntheticPlanet(24, seed=1, num_seasons=2, size=48, modalities=("S2L1C",)), path, errors="raise")
    return path


def test_the_source_is_packed_and_a_broken_file_left_out(tmp_path: Path) -> None:
    """By a worker process, which finds the source's module too."""
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    times = np.array(["2021-01-05T10:00:00", "2021-07-05T10:00:00"], "datetime64[s]")
    pixels = rng.integers(200, 4000, (3, 2, 4, 24, 24)).astype(np.uint16)
    for i, values in enumerate(pixels):
        np.savez(tmp_path / f"raw/place{i}.npz", rgb_nir=values, times=times, lon=11.5 + i, lat=48.1)
    (tmp_path / "raw/place1.npz").write_bytes(b"not a zip")

    layout = f"{EXAMPLES / 'npz_source.py'}:NpzFolder"
    assert main(["pack", str(tmp_path / "raw"), str(tmp_path / "a.zarr"), "--layout", layout, "--workers", "2"]) == 0

    archive = open_archive(tmp_path / "a.zarr")
    assert archive.ids == ("place0", "place2")
    image = archive.read("S2L2A", location=1, season=1)
    assert np.array_equal(image.pixels[10], pixels[2, 1])
    assert str(image.time) == "2021-07-05 10:00:00+00:00"
    assert main(["verify", str(tmp_path / "a.zarr")]) == 0


def test_the_view_changes_what_the_network_sees_and_nothing_else(planet: Path, tmp_path: Path) -> None:
    """Without haze the run has the bits of the library's own recipe; its option is on the command line."""
    losses = {}
    own = f"{EXAMPLES / 'hazy_views.py'}:HAZY"
    small = [*TINY.replace("VIEW", "clear").split(), "--views.hazy.size", "32"]
    base = TINY.replace("VIEW", "view").split()
    for name, options in {
        "plain": ["--recipe", "moco_v2.resnet18.s2l1c.tiny", *base],
        "0": ["--recipe", own, *small, "--views.hazy.haze", "0"],
        "3000": ["--recipe", own, *small, "--views.hazy.haze", "3000"],
    }.items():
        out = tmp_path / name
        queue = ["--method.queue_size", "16", "--engine.probe_every", "0", "--quiet"]
        assert main(["pretrain", *options, *queue, "--data", str(planet), "--out", str(out)]) == 0
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses[name] = [line["loss"] for line in lines if line["kind"] == "step"]

    assert losses["0"] == losses["plain"]
    assert losses["3000"] != losses["plain"]
    assert json.loads((tmp_path / "3000/config.json").read_text())["config"]["views"]["hazy"]["haze"] == 3000


def test_the_method_trains_and_its_network_is_judged_on_the_task(planet: Path, tmp_path: Path) -> None:
    """Both examples in one run: pretrain, then evaluate on labels of a table."""
    out = tmp_path / "run"
    options = TINY.replace("VIEW", "view").split()
    recipe = f"{EXAMPLES / 'simsiam.py'}:TINY"
    assert main(["pretrain", "--recipe", recipe, "--data", str(planet), "--out", str(out), "--quiet", *options]) == 0
    root = labelled(planet, tmp_path / "labelled")

    judge = ["evaluate", "--checkpoint", str(out), "--task", TASK, "--root", str(root), "--out", str(out)]
    assert main([*judge, "--protocol", "linear"]) == 0

    (score,) = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert (score["task"], score["synthetic"], score["num_test"]) == ("csv_labels", True, 8)
    (root / "labels.csv").write_text("id,class\nnowhere,one\n")
    assert main([*judge, "--protocol", "linear"]) == 1


def test_the_service_lists_clear_scenes_only_and_stays_synthetic(tmp_path: Path) -> None:
    """Places without a clear scene in each season are left out with the reason, by what the service listed."""
    rows = [f"{i:07d},{5 + 2 * i},48.1" for i in range(8)]
    (tmp_path / "places.csv").write_text("\n".join(["id,lon,lat", *rows]))
    source, out = f"{EXAMPLES / 'clear_sky.py'}:clear_sky", tmp_path / "a.zarr"
    command = ["collect", "--places", str(tmp_path / "places.csv"), "--source", source, "--size", "24"]
    assert main([*command, "--modalities", "S2L2A", "--days", "44", "--out", str(out)]) == 0

    archive = open_archive(out)
    assert archive.provenance.synthetic
    assert "clear scenes only" in archive.provenance.title
    service = load_own("service", source)()
    inside = [Range(*(datetime(2021, month, 1, tzinfo=UTC) for month in (7, 1, 12)))]
    place, product = Location("0000001", 7.0, 48.1), service.product("S2L2A")
    listed, every = (s.search(place, inside, product) for s in (service, service.inner))
    assert 0 < len(listed) < len(every)
    assert [scene for scene in every if scene.cloud <= 0.1] == listed
    assert 0 < len(archive) < 8


def test_a_loop_of_ones_own_trains_a_network_of_ones_own_that_is_judged(
    planet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both examples: train, then evaluate and embed what was kept, beside the same network as it was drawn."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    loop, name = importlib.import_module("own_loop"), f"{EXAMPLES / 'own_network.py'}:convnext"
    loop.train(str(planet), str(tmp_path / "weights.pt"), epochs=2, batch_size=8, size=32)
    losses = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    root = labelled(planet, tmp_path / "labelled")
    judge = ["evaluate", "--checkpoint", name, "--task", TASK, "--root", str(root), "--out", str(tmp_path)]
    judge += ["--image-size", "32", "--protocol", "linear"]

    assert main(judge) == 0
    monkeypatch.setenv("OWN_WEIGHTS", str(tmp_path / "weights.pt"))
    assert main(judge) == 0

    assert len(losses) == 6
    assert all(0 < loss < 6 for loss in losses)
    drawn, trained = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [row["pretrained"] for row in (drawn, trained)] == [False, True]
    assert (trained["checkpoint"], trained["backbone"], trained["method"]) == (name, "convnext_atto", "simclr")
    assert drawn["checkpoint_sha256"] != trained["checkpoint_sha256"]
    embed = ["embed", "--checkpoint", name, "--data", str(planet), "--out", str(tmp_path / "e.parquet")]
    assert main([*embed, "--workers", "1", "--seasons", "0", "--image-size", "32"]) == 0
