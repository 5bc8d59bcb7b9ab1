# SPDX-License-Identifier: Apache-2.0
"""Whatever writes a file refuses to write into the folder of an archive: it would be damaged from then on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl4eo.cli import main
from ssl4eo.commands import collect


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    assert collect.run(out=path, num_locations=2, size=24, num_seasons=1, modalities=("S2L1C",)) == 0
    return path


_TRAINED = [
    "--recipe",
    "mae.vit_small_16.s2l1c.tiny",
    "--data",
    "ARCHIVE",
    "--split",
    "none",
    "--engine.batch_size",
    "2",
]
_JUDGED = ["--checkpoint", "random.resnet18.s2l1c", "--task", "synthetic", "--root", "ARCHIVE"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["gallery", "ARCHIVE", "--out", "ARCHIVE/site"],
        ["gallery", "ARCHIVE", "--out", "ARCHIVE/S2L1C/site"],
        ["show", "ARCHIVE", "0000000", "--out", "ARCHIVE/a.png"],
        ["embed", "--checkpoint", "random.resnet18.s2l1c", "--data", "ARCHIVE", "--out", "ARCHIVE/e.parquet"],
        ["report", "RUN", "--out", "ARCHIVE"],
        ["report", "RUN", "--out", "ARCHIVE/report"],
        ["evaluate", *_JUDGED, "--out", "ARCHIVE"],
        ["evaluate", *_JUDGED, "--out", "ARCHIVE/scores"],
        ["evaluate", "--suite", "published", "--root", "RUN", "--out", "ARCHIVE"],
        ["pretrain", *_TRAINED, "--out", "ARCHIVE"],
        ["pretrain", *_TRAINED, "--out", "ARCHIVE/runs/a"],
        ["pretrain", *_TRAINED, "--out", "ARCHIVE", "--resume"],
        ["locations", "draw", "--count", "3", "--out", "ARCHIVE/places.parquet"],
        ["checkpoints", "export", "random.resnet18.s2l1c", "--form", "timm", "--out", "ARCHIVE/exported"],
        ["collect", "--num_locations", "1", "--size", "24", "--out", "ARCHIVE/b.zarr"],
        ["demo", "--out", "ARCHIVE"],
        ["demo", "--out", "ARCHIVE/demo"],
    ],
)
def test_nothing_is_written_into_an_archive(planet: Path, tmp_path: Path, capsys, arguments: list[str]) -> None:
    """Status 1, the archive named, its files the same."""
    row = {"kind": "step", "step": 0, "epoch": 0.0, "loss": 1.0, "lr": 0.1}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    before = sorted(planet.rglob("*"))

    status = main([word.replace("ARCHIVE", str(planet)).replace("RUN", str(tmp_path)) for word in arguments])

    assert status == 1
    error = capsys.readouterr().err
    assert f"inside of the archive {planet}" in error or f"{planet} is an archive" in error
    assert sorted(planet.rglob("*")) == before
