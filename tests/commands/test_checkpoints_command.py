# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints`: results on stdout, exit statuses, nothing heavy loaded for a list."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.cli import main

NAME = "mae.vit_huge_14.s1grd"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no way to any server."""
    monkeypatch.setenv("SSL4EO_CACHE", str(tmp_path))
    monkeypatch.setenv("SSL4EO_OFFLINE", "1")
    return tmp_path / "checkpoints"


def shown(capsys, *arguments):
    assert main(["checkpoints", *arguments]) == 0
    return capsys.readouterr().out


def names(capsys, *arguments):
    return [row["name"] for row in json.loads(shown(capsys, "list", "--json", *arguments))]


def test_every_card_is_listed_and_shown(capsys):
    """As text and as JSON, with the same facts."""
    text = shown(capsys, "list")

    assert names(capsys) == list(CARDS)
    for name, card in CARDS.items():
        assert name in text
        page = shown(capsys, "show", name)
        data = json.loads(shown(capsys, "show", name, "--json"))
        for fact in (card.certainty, card.license, card.recommended, card.not_recommended, str(card.contract)):
            assert fact in page
        assert data["contract"] == card.contract.to_json()
        assert [f["url"] for f in data["files"]] == [f.url for f in card.files]
        assert all(f.url in page for f in card.files)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--method", "moco_v2"], 6),
        (["--backbone", "vit_small_16"], 5),
        (["--modality", "S1GRD"], 5),
        (["--modality", "s2rgb"], 3),
        (["--modality", "S2L1C"], 13),
        (["--method", "mae", "--backbone", "vit_huge_14", "--modality", "s1grd"], 1),
        (["--method", "dino", "--modality", "s1grd"], 0),
    ],
)
def test_filters_narrow_the_list(capsys, filters, count):
    """One, or several together; a modality, or an input as names have it."""
    assert len(names(capsys, *filters)) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--method", "mea"], "did you mean mae?"),
        (["list", "--backbone", "vit_nano_8"], "no published checkpoint's backbone"),
        (["list", "--modality", "s2l2a"], "no published checkpoint's input"),
        (["list", NAME], f"did you mean checkpoints show {NAME}?"),
        (["list", "--offline"], "checkpoints list with --offline"),
        (["show"], "without a name"),
        (["show", "mae.vit_hug_14.s1grd"], f"did you mean {NAME}?"),
        (["show", NAME, "--method", "mae"], "checkpoints show with --method"),
        (["fetch"], "without a name"),
        (["fetch", "data2vec.vit_small_16.s2l1c", "--holds", "log"], "expected one of backbone, full"),
    ],
)
def test_wrong_arguments_are_status_2(capsys, arguments, message):
    """With the nearest name, or what is understood."""
    assert main(["checkpoints", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_fetch_prints_the_path_of_what_is_in_the_cache(capsys, cache):
    """One line on stdout, for a script; show and list say that it is there."""
    cache.mkdir()
    path = cache / "B2_vith14_mae_ep199_enc.pth"
    path.write_bytes(b"weights")

    assert shown(capsys, "fetch", NAME) == f"{path}\n"
    assert json.loads(shown(capsys, "fetch", NAME, "--offline", "--json"))["path"] == str(path)
    assert f"{path.name}, in the cache" in shown(capsys, "show", NAME)
    row = next(line for line in shown(capsys, "list").splitlines() if line.startswith(NAME))
    assert row.endswith("backbone")


@pytest.mark.parametrize("options", [["--offline"], []])
def test_fetch_offline_is_status_1_with_the_path(capsys, cache, options):
    """By option or by the environment."""
    assert main(["checkpoints", "fetch", NAME, "--holds", "full", *options]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert str(cache / "B2_vith14_mae_ep199.pth") in err


@pytest.mark.parametrize("arguments", [["list"], ["show", NAME]])
def test_nothing_heavy_is_loaded_to_list(arguments):
    """No torch, no NumPy, no HTTP: the answer is there at once."""
    program = (
        f"from ssl4eo.cli import main; import sys; main(['checkpoints', *{arguments!r}])\n"
        "sys.exit(' '.join({'torch', 'timm', 'numpy', 'rich', 'urllib3'} & sys.modules.keys()) or 0)"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert NAME in ended.stdout
