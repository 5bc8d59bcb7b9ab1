# SPDX-License-Identifier: Apache-2.0
"""unpack on the command line: results on stdout, exit status, what is said of a second run."""

import json
import typing
from pathlib import Path

import pytest

from ssl4eo.cli import main
from ssl4eo.commands import unpack
from ssl4eo.unpacking.layouts import LAYOUTS


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic archive made by the command."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    arguments = ["--num_locations", "3", "--size", "24", "--num_seasons", "2", "--modalities", "S2L1C"]
    assert main(["collect", "--out", str(path), *arguments]) == 0
    return path


def test_unpack_writes_and_then_says_that_all_is_there(
    planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With json, stdout is one document."""
    arguments = ["unpack", str(planet), str(tmp_path / "out"), "--layout", "uint16-geotiff", "--seasons", "1"]

    assert main(arguments) == 0
    assert "3 locations written" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "everything is there already, 3 locations" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["written"], facts["found"], facts["skipped"], facts["layout"]) == (0, 3, [], "uint16-geotiff")
    assert len(list((tmp_path / "out").rglob("*.tif"))) == 3


def test_the_command_offers_every_layout() -> None:
    """Its choices are the table's."""
    assert typing.get_args(typing.get_type_hints(unpack.run)["layout"]) == tuple(LAYOUTS)


def test_only_the_ids_of_a_file_are_written(planet: Path, tmp_path: Path) -> None:
    """In any layout, with options of the layout."""
    (tmp_path / "ids.txt").write_text("0000002\n")
    common = ["unpack", str(planet), str(tmp_path / "out"), "--layout", "uint8-geotiff", "--rule", "uint8_10k_wrapped"]

    assert main([*common, "--ids", str(tmp_path / "ids.txt"), "--workers", "2"]) == 0

    assert [p.name for p in (tmp_path / "out/s2c").iterdir()] == ["0000002"]


def test_bad_arguments_and_failures_have_their_status(
    planet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2 for what cannot be asked, 1 for what fails; one clear message each."""
    out = str(tmp_path / "out")

    assert main(["unpack", str(planet), out, "--layout", "lmdb", "--rule", "uint8_11k"]) == 2
    assert "no 8-bit rule is called 'uint8_11k'" in capsys.readouterr().err
    both = ["--subset", "published", "--ids", "x"]
    assert main(["unpack", str(planet), out, "--layout", "rgb-png", *both]) == 2
    assert "both --ids and --subset" in capsys.readouterr().err
    assert main(["unpack", str(planet), out, "--layout", "rgb-png", "--subset", "published"]) == 1
    assert "has no location 0000081" in capsys.readouterr().err
    assert main(["unpack", str(tmp_path / "none"), out, "--layout", "raw"]) == 1
    with pytest.raises(SystemExit) as ended:
        main(["unpack", str(planet), out, "--layout", "zip"])
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()
