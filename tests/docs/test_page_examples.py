# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the README and the pages runs, or says on the page that it is not run and why."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from page_blocks import blocks

from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.packing.pack import pack

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `srun` command is available"),  # where SLURM is
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # examples open files as one does in a shell
]

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"tutorial.md", "source.md", "view.md", "method.md", "task.md", "service.md", "network.md", "loop.md"}
"""Pages that other tests run as a whole."""
PAGES = [page for page in sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]) if page.name not in ELSEWHERE]


def has_python(page: Path) -> bool:
    return any(block.kind == "python" for block in blocks(page))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples share: an archive `a.zarr`, a run `runs/first` on it, and its embeddings `E.parquet`."""
    path = tmp_path_factory.mktemp("examples")
    pack(SyntheticPlanet(8, seed=1, num_seasons=2, size=48, modalities=("S2L1C",)), path / "a.zarr", errors="raise")
    options = "--split none --engine.epochs 1 --engine.batch_size 8 --method.queue_size 8 --views.view.size 32 --quiet"
    recipe = "pretrain --recipe moco_v2.resnet18.s2l1c.tiny"
    assert main([*recipe.split(), "--data", f"{path}/a.zarr", "--out", f"{path}/runs/first", *options.split()]) == 0
    embed = f"embed --checkpoint {path}/runs/first --data {path}/a.zarr --out {path}/E.parquet"
    assert main(embed.split()) == 0
    return path


@pytest.mark.parametrize("page", list(filter(has_python, PAGES)), ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one folder; exports that the page's commands make are made before."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.not_run:
            continue
        if block.kind == "python":
            exec(compile(block.code, f"{page.name}:{block.line}", "exec"), names)
        for line in block.code.splitlines():
            if line.startswith("ssl4eo checkpoints export runs/first") and "--form onnx" not in line:
                target = line.partition("--out ")[2].split()[0]
                assert Path(target).exists() or main(shlex.split(line, comments=True)[1:]) == 0


def test_what_is_not_run_says_so_in_words() -> None:
    """A reason stands above the block, for everybody to read."""
    reasons = [block.not_run for page in PAGES for block in blocks(page) if block.not_run]

    assert len(reasons) >= 8
    assert all(len(reason) > 15 for reason in reasons)
