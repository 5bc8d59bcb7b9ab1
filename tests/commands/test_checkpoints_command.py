# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints`: results on stdout, exit statuses, nothing heavy loaded for a list."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.cli import main
from ssl4eo.commands.checkpoints import ACTIONS, build_parser

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


@pytest.mark.parametrize("option", [["--method", "MAE"], ["--backbone", "ViT_Huge_14"], ["--modality", "s1GRD"]])
def test_filters_take_any_case(capsys, option):
    """A method's name is no password."""
    assert NAME in names(capsys, *option)


def test_an_empty_list_says_so(capsys):
    """A head without a body looks like a failure."""
    fits_none = ("--method", "dino", "--modality", "s1grd")

    assert shown(capsys, "list", *fits_none) == f"none of the {len(CARDS)} published checkpoints is all of this\n"
    assert names(capsys, *fits_none) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of list, show, fetch, inspect, export"),
        (["lst"], "did you mean list?"),
        ([NAME], f"no action of ssl4eo checkpoints is called '{NAME}'"),
        (["list", "--method", "mea"], "did you mean mae?"),
        (["list", "--backbone", "vit_nano_8"], "no published checkpoint's backbone"),
        (["list", "--modality", "s2l2a"], "no published checkpoint's input"),
        (["list", NAME], f"did you mean checkpoints show {NAME}?"),
        (["list", "--offline"], "checkpoints list with --offline"),
        (["list", "--form", "timm"], "--form is of export"),
        (["show"], "required: name"),
        (["show", "mae.vit_hug_14.s1grd"], f"did you mean {NAME}?"),
        (["show", NAME, "--method", "mae"], "checkpoints show with --method"),
        (["show", NAME, NAME], f"unrecognized arguments: {NAME}"),
        (["show", "random.resnet18.s2l1c"], "an untrained network has no card"),
        (["show", "runs/first"], "`ssl4eo checkpoints inspect runs/first` says what is in it"),
        (["fetch"], "required: name"),
        (["fetch", "https://example.org/a.pth"], "expected a name of `ssl4eo checkpoints list`: load_backbone takes"),
        (["fetch", NAME, "--holds", "weights"], "'backbone', 'full', 'log'"),
        (["fetch", "data2vec.vit_small_16.s2l1c", "--holds", "log"], "expected one of backbone, full"),
        (["export", NAME], "required: --form, --out"),
        (["export", NAME, "--keys"], "--keys is of inspect"),
    ],
)
def test_wrong_arguments_are_status_2(capsys, arguments, message):
    """With the nearest name, or what is understood."""
    try:
        status = main(["checkpoints", *arguments])
    except SystemExit as ended:  # by the parser
        status = ended.code

    assert status == 2
    assert message in capsys.readouterr().err


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["checkpoints", *arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_names_the_actions(capsys):
    """With what each is for."""
    page = helped(capsys)

    for word, action in ACTIONS.by_word.items():
        assert any(line.split() == [word, *action.title.split()] for line in page.splitlines())


@pytest.mark.parametrize("word", ACTIONS.by_word)
def test_help_of_an_action_has_its_own_options_and_an_example(capsys, word):
    """And none of the others'."""
    page = helped(capsys, word)

    own = set(ACTIONS.by_word[word].options)
    known = {option for action in ACTIONS.by_word.values() for option in action.options}
    assert {option for option in known if f"--{option} " in page or f"[--{option}]" in page} == own
    assert f"usage: ssl4eo checkpoints {word} " in page
    assert f"example: ssl4eo checkpoints {ACTIONS.by_word[word].example}" in page


@pytest.mark.parametrize("word", ACTIONS.by_word)
def test_the_example_of_an_action_is_understood(word):
    """By its own parser."""
    arguments = ACTIONS.by_word[word].example.split()

    assert build_parser(arguments).parse_args(arguments).action == word


@pytest.mark.parametrize("order", ["show --json {0}", "show {0} --json", "--json show {0}"])
def test_a_name_may_stand_before_and_after_options(capsys, order):
    """A switch takes nothing away from it."""
    assert json.loads(shown(capsys, *order.format(NAME).split()))["name"] == NAME


def test_fetch_and_inspect_and_export_take_the_name_last(capsys, cache, tmp_path):
    """All three get as far as the cache, which is empty."""
    out = str(tmp_path / "out")
    for arguments in (
        ["fetch", "--holds", "full", "--offline", NAME],
        ["inspect", "--keys", "--offline", NAME],
        ["export", "--form", "timm", "--offline", "--out", out, NAME],
    ):
        assert main(["checkpoints", *arguments]) == 1
        assert f"{NAME} (" in capsys.readouterr().err


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
    assert err.startswith("ssl4eo: ")  # no bar of a fetch that is none
    assert str(cache / "B2_vith14_mae_ep199.pth") in err


def test_a_cache_that_cannot_be_looked_into_is_empty(capsys, tmp_path, monkeypatch):
    """A list is no place to fail at it."""
    monkeypatch.setenv("SSL4EO_CACHE", str(tmp_path / ("x" * 300)))

    assert shown(capsys, "list").count(" -\n") == len(CARDS)


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
