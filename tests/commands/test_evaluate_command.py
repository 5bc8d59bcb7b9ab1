# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.commands.evaluate import _show, run
from ssl4eo.errors import ConfigInvalid
from ssl4eo.files import read_jsonl


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 60 tiny synthetic locations."""
    path = tmp_path_factory.mktemp("evaluate") / "a.zarr"
    source = SyntheticPlanet(60, size=24, num_seasons=1, modalities=("S2L1C",))
    with ArchiveWriter(
        path,
        forms=source.forms,
        num_seasons=1,
        shape=source.shape,
        provenance=source.provenance,
        masks=source.masks,
    ) as writer:
        for location in source.ids():
            writer.append(source.read(location))
        writer.finish()
    return path


def _arguments(planet: Path, out: Path, *more: str) -> list[str]:
    named = ["--checkpoint", "random.resnet18.s2l1c", "--task", "synthetic", "--root", str(planet), "--out", str(out)]
    return ["evaluate", *named, "--image_size", "32", *more]


def test_both_protocols_run_without_being_asked(
    planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default is every protocol; the table on stdout says untrained and synthetic."""
    status = main(_arguments(planet, tmp_path))

    out = capsys.readouterr().out
    assert status == 0
    assert [row["protocol"] for row in read_jsonl(tmp_path / "scores.jsonl")] == ["knn", "linear"]
    assert "untrained" in out
    assert "synthetic data" in out
    assert "40 training and 20 test items of 10 classes" in " ".join(out.split())


def test_json_on_stdout_is_what_is_recorded(planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read stdout alone: nothing else may stand there."""
    status = main(_arguments(planet, tmp_path, "--protocol", "knn", "--json"))

    assert status == 0
    assert json.loads(capsys.readouterr().out) == list(read_jsonl(tmp_path / "scores.jsonl"))


def test_seeds_are_different_untrained_networks(planet: Path, tmp_path: Path) -> None:
    """One line for each seed, with its features when asked for."""
    run(
        checkpoint="random.resnet18.s2l1c",
        task="synthetic",
        root=planet,
        out=tmp_path,
        protocol=["knn"],
        seeds=[0, 3],
        image_size=32,
        save_features=True,
    )

    rows = list(read_jsonl(tmp_path / "scores.jsonl"))
    assert [row["seed"] for row in rows] == [0, 3]
    assert len({(tmp_path / row["features"]).read_bytes() for row in rows}) == 2


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_that_make_no_sense_are_refused(planet: Path, tmp_path: Path, seeds: list[int]) -> None:
    """None, repeated and negative seeds."""
    with pytest.raises(ConfigInvalid, match="each once"):
        run(checkpoint="random.resnet18.s2l1c", task="synthetic", root=planet, out=tmp_path, seeds=seeds)


def test_seeds_for_a_file_are_refused(planet: Path, tmp_path: Path) -> None:
    """A file has one set of weights."""
    with pytest.raises(ConfigInvalid, match="a file has its own weights"):
        run(checkpoint="a.safetensors", task="synthetic", root=planet, out=tmp_path, seeds=[0])


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"--task": "sinthetic"}, 2, "did you mean synthetic"),
        ({"--checkpoint": "random.resnet19.s2l1c"}, 2, "did you mean resnet18"),
        ({"--checkpoint": "random.resnet18.s1grd"}, 1, "the network wants S1GRD"),
        ({"--checkpoint": "absent.safetensors"}, 1, "no checkpoint"),
        ({"--root": "absent.zarr"}, 1, "absent.zarr"),
    ],
)
def test_failures_are_one_clear_message(
    planet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    status: int,
    message: str,
) -> None:
    """No traceback, nothing on stdout, no records, and the exit status of the interface."""
    arguments = _arguments(planet, tmp_path / "run")
    for name, value in changed.items():
        arguments[arguments.index(name) + 1] = value

    assert main(arguments) == status

    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_brackets_in_names_are_no_markup(capsys):
    """A run folder r[red]un keeps its name in the table."""
    score = SimpleNamespace(
        checkpoint="r[red]un", pretrained=True, task="t[bold]", synthetic=False, split="s[b]", num_train=1, num_test=1,
        num_classes=2, metric="accuracy", measures={"accuracy": {"value": 0.5}, "f1": {"value": 0.5}}, interval=None,
        protocol="knn", seed=0, value=0.5,
    )  # fmt: skip

    _show([score])

    assert {"r[red]un", "t[bold],", "s[b]"} <= set(capsys.readouterr().out.split())
