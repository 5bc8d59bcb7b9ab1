# SPDX-License-Identifier: Apache-2.0
"""Small records for the tests of the report: rows as dictionaries, runs as folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("crops", "forest", "water")


def score_row(value: float = 0.5, *, pretrained: bool = False, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """One row of scores.jsonl."""
    row = {
        "task": "scenes",
        "split": "blocks",
        "part": "test",
        "protocol": "knn",
        "metric": "accuracy",
        "value": value,
        "checkpoint": "checkpoints/last.safetensors" if pretrained else "random.resnet18.s2l1c",
        "pretrained": pretrained,
        "backbone": "resnet18",
        "seed": seed,
        "num_train": 30,
        "num_test": 40,
        "num_classes": 3,
        "synthetic": True,
        "settings": {"k": 20},
        "commit": "abc1234",
        "time": "2026-03-01T10:00:00+00:00",
        "features": None,
    }
    return {**row, **changes}


def step_row(step: int, loss: float = 1.0, **changes: Any) -> dict[str, Any]:
    """One step of log.jsonl, ten steps an epoch."""
    row = {"kind": "step", "step": step, "epoch": step / 10, "loss": loss, "lr": 0.1, "images_per_second": 100.0}
    return {**row, "feature_std": 0.1, "effective_rank": 8.0, **changes}


def knn_row(step: int, accuracy: float, task: str = "scenes") -> dict[str, Any]:
    """One k-NN measurement of log.jsonl."""
    return {"kind": "knn", "step": step, "epoch": step / 10, "accuracy": accuracy, "task": task}


def config_json(*, synthetic: bool = True, **changes: Any) -> dict[str, Any]:
    """What a pre-training run writes about itself."""
    environment = {
        "ssl4eo": "0.1",
        "commit": None,
        "python": "3.11.9",
        "torch": "2.9.0",
        "machine": "2 cores",
        "started": "2026-03-01T09:00:00+00:00",
    }
    contract = {"modality": "S1GRD", "bands": ["VV", "VH"], "unit": "dB", "offset": 0, "scaling": "none"}
    data = {"path": "a.zarr", "title": "little planet", "synthetic": synthetic, "num_items": 24, "contract": contract}
    config = {"recipe": "moco_v2.resnet18.s2l1c", "config": {"seed": 0, "epochs": 2}}
    return {**config, "environment": environment, "data": data, **changes}


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(
    path: Path,
    *,
    config: dict[str, Any] | None = None,
    log: Iterable[dict[str, Any]] | None = None,
    scores: Iterable[dict[str, Any]] | None = None,
) -> Path:
    """Write a run folder with the given records."""
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if log is not None:
        write_lines(path / "log.jsonl", log)
    if scores is not None:
        write_lines(path / "scores.jsonl", scores)
    return path


def write_features(path: Path, *, count: int = 24, spread: float = 0.1, seed: int = 0) -> Path:
    """Write features of three classes: unit axes plus noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    values = np.eye(8)[labels] + spread * random.normal(size=(count, 8))
    np.savez(path, features=values.astype(np.float32), labels=labels.astype(np.int64), classes=np.array(CLASSES))
    return path


def full_run(path: Path, *, features: bool = True) -> Path:
    """Write a run with all records: 50 and 60 % untrained, 70 and 90 % pre-trained."""
    scores = [
        score_row(0.5, features="before.npz" if features else None),
        score_row(0.6, seed=1),
        score_row(0.7, pretrained=True, features="after.npz" if features else None),
        score_row(0.9, pretrained=True, seed=1),
    ]
    log = [knn_row(0, 0.5), *(step_row(step, 3 - step / 20) for step in range(20)), knn_row(19, 0.75)]
    alarm = {"kind": "alarm", "step": 5, "epoch": 0.5, "message": "features shrink"}
    write_run(path, config=config_json(), log=[*log, alarm], scores=scores)
    if features:
        write_features(path / "before.npz", spread=1.0)
        write_features(path / "after.npz", spread=0.1, seed=1)
    return path
