# SPDX-License-Identifier: Apache-2.0
"""The command line: help, exit statuses, clear messages, and no torch where none is needed."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl4eo import cli
from ssl4eo.cli import VERBS, main

TINY = "moco_v2.resnet18.s2rgb.tiny"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview_lists_every_command(capsys, arguments):
    """No argument and --help say what there is."""
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_command_has_help_with_its_options(capsys, name):
    """`ssl4eo NAME --help` ends well and describes the command."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"ssl4eo {name}" in out


@pytest.mark.parametrize("name", VERBS)
def test_unknown_option_is_status_2(capsys, name):
    """A typing error in an option is a usage error, told on stderr."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-option", "1"])

    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_unknown_command_suggests_the_nearest(capsys):
    """A typing error in the command is status 2 with a suggestion."""
    assert main(["pretain"]) == 2
    assert "did you mean pretrain?" in capsys.readouterr().err


def test_unknown_recipe_is_status_2(capsys):
    """The parser of pretrain needs to know the recipe."""
    assert main(["pretrain", "--recipe", "moco_v2.resnet18.s2l1d", "--data", "x", "--out", "y"]) == 2
    assert "did you mean moco_v2.resnet18.s2l1c or " in capsys.readouterr().err


def test_missing_data_is_status_1_without_a_traceback(capsys, tmp_path):
    """A failure is one message with found, expected, remedy."""
    status = main(
        [
            "pretrain",
            "--recipe",
            TINY,
            "--data",
            str(tmp_path / "no"),
            "--out",
            str(tmp_path / "r"),
        ]
    )

    assert status == 1
    assert "no data at" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_impossible_combination_is_status_2(capsys, tmp_path):
    """A batch that the queue cannot hold whole is refused before anything is read."""
    data, out = str(tmp_path), str(tmp_path / "r")
    status = main(["pretrain", "--recipe", TINY, "--data", data, "--out", out, "--engine.batch_size", "100"])

    assert status == 2
    assert "queue_size" in capsys.readouterr().err


def test_override_by_dotted_name_and_config_file_agree(tmp_path, capsys):
    """--print_config shows the resolved options; a file with them gives the same."""
    from ssl4eo.commands.pretrain import build_parser, resolve

    common = ["--recipe", TINY, "--data", "d", "--out", "o"]
    changed = [*common, "--optimizer.lr", "0.5", "--views.view.photometric.brightness", "0.1"]
    parser = build_parser(changed)
    config = resolve(parser, parser.parse_args(changed))
    with pytest.raises(SystemExit):
        build_parser(changed).parse_args([*changed, "--print_config"])
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    from_file = ["--config", str(tmp_path / "c.yaml")]
    parser = build_parser(from_file)

    assert config.optimizer.lr == 0.5
    assert config.views.view.photometric.brightness == 0.1
    assert config.views.view.photometric.contrast == 0.2
    assert resolve(parser, parser.parse_args(from_file)) == config


def test_recipes_are_listed_and_shown(capsys):
    """Every recipe can be shown in full, as text and as JSON."""
    assert main(["recipes", "list", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    for name in names:
        assert main(["recipes", "show", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["config"]["recipe"] == name
    assert main(["recipes", "show", names[0]]) == 0
    assert "method.temperature = " in capsys.readouterr().out
    assert main(["recipes", "list"]) == 0
    assert names[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["show"], ["list", "x"], ["list", TINY], ["show", "x"], ["list", "--backbone", "swin"]]
)
def test_recipes_with_the_wrong_arguments_is_status_2(arguments):
    """A name is needed for show, and only there."""
    assert status_of(["recipes", *arguments]) == 2


@pytest.mark.parametrize("arguments", [["show", "--json", TINY], ["--json", "show", TINY], ["show", TINY, "--json"]])
def test_options_of_recipes_stand_anywhere(capsys, arguments):
    """Before the name and after it."""
    assert main(["recipes", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == TINY


def status_of(arguments):
    """Give the exit status, whether it is returned or the parser leaves with it."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize("arguments", [["--help"], ["download", "--list", "--json"]])
def test_a_reader_that_is_gone_ends_a_command_without_a_word(arguments):
    """As in `ssl4eo download --list --json | head -1`: the status that shells know, nothing on stderr."""
    reading, writing = os.pipe()
    os.close(reading)

    ended = subprocess.run(
        [sys.executable, "-m", "ssl4eo.cli", *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)

    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_pipe_of_ours_that_breaks_is_a_failure(monkeypatch, capsys):
    """Somebody reads stdout: the pipe led elsewhere, and the message is told."""

    def broken():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(cli, "_overview", broken)
    assert main(["--help"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["download", "--list"], ["download", "x"]])
def test_closed_standard_streams_are_no_traceback(arguments):
    """As a daemon may start a command: nothing is open but the file that takes what goes wrong."""
    code = f"import sys; sys.stdout = sys.stderr = None; from ssl4eo.cli import main; sys.exit(main({arguments!r}))"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert (ended.returncode, ended.stderr) == (2 if "x" in arguments else 0, b"")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "denied")])
def test_what_the_system_refuses_is_told_without_a_traceback(monkeypatch, capsys, error):
    """A full disk and a missing right are failures with a message."""
    module = importlib.import_module("ssl4eo.commands.info")

    def refuse(path: str) -> int:
        raise error

    monkeypatch.setattr(module, "run", refuse)

    assert main(["info", "x"]) == 1
    assert capsys.readouterr().err.startswith("ssl4eo: ")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_want_of_memory_is_told_without_a_traceback(monkeypatch, capsys, error):
    """Wherever it comes from."""
    module = importlib.import_module("ssl4eo.commands.info")

    def refuse(path: str) -> int:
        raise error

    monkeypatch.setattr(module, "run", refuse)

    assert main(["info", "x"]) == 1
    assert capsys.readouterr().err.startswith("ssl4eo: no memory for this (")


def test_faults_of_ours_are_not_called_anything_else(monkeypatch):
    """A RuntimeError that speaks of something else is a traceback to report."""
    module = importlib.import_module("ssl4eo.commands.info")

    def fail(path: str) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(module, "run", fail)

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        main(["info", "x"])


def test_interruption_is_status_130(monkeypatch, capsys):
    """Ctrl-C is told in one line."""
    module = importlib.import_module("ssl4eo.commands.info")

    def interrupt(path: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", interrupt)

    assert main(["info", "x"]) == 130
    assert capsys.readouterr().err == "ssl4eo: interrupted\n"


@pytest.mark.parametrize(("verb", "words"), [("pack", "the same command goes on"), ("pretrain", "--resume")])
def test_an_interrupted_command_says_how_it_goes_on(monkeypatch, capsys, verb, words):
    """In words that are true of that command."""
    monkeypatch.setattr("ssl4eo.cli._dispatch", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))

    assert main([verb]) == 130
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("out", [["--out", "{}"], ["--out={}"]])
def test_an_interrupted_run_without_a_checkpoint_promises_none(monkeypatch, capsys, tmp_path, out):
    """It begins anew; with one it goes on."""
    monkeypatch.setattr("ssl4eo.cli._dispatch", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    command = ["pretrain", "--recipe", "a", *(word.format(tmp_path) for word in out)]

    main(command)
    assert "there was no checkpoint yet: the same command with --resume begins anew" in capsys.readouterr().err
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000004.pt").touch()
    main(command)
    assert "what was finished is kept: the same command with --resume goes on" in capsys.readouterr().err


HELP_OF_ALL = """
from contextlib import suppress
from ssl4eo.cli import VERBS, main
for verb in VERBS:
    with suppress(SystemExit):
        main([verb, "--help"])
"""


@pytest.mark.parametrize(
    "code",
    [
        "import ssl4eo; ssl4eo.Contract",
        "import ssl4eo; ssl4eo.open_archive",
        "from ssl4eo.cli import main; main(['--help'])",
        "import ssl4eo.collection.synthetic, ssl4eo.packing.pack, ssl4eo.packing.layouts, ssl4eo.report.write",
        HELP_OF_ALL,
    ],
)
def test_no_torch_where_none_is_needed(code):
    """The vocabulary, the archive, help and report answer without torch."""
    program = f"{code}\nimport sys; sys.exit('torch' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


def test_recipes_are_told_without_timm():
    """Listed, shown in full, and refused by a misspelled name: timm and torchvision take as long as torch itself."""
    name = "moco_v3.vit_small_16.s2l1c"
    program = (
        "import sys; from ssl4eo.cli import main\n"
        f"assert main(['recipes', 'list']) == main(['recipes', 'show', '{name}', '--backbone', 'resnet18']) == 0\n"
        f"assert main(['pretrain', '--recipe', '{name}x', '--data', 'a', '--out', 'b']) == 2\n"
        "sys.exit(bool({'timm', 'torchvision', 'lightning_fabric', 'torch._dynamo'} & sys.modules.keys()))"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr


def test_signature_becomes_the_command_line():
    """Positions, switches, lists, defaults and dashes follow from a function."""
    from ssl4eo.commands.parsing import call, function_parser

    seen = {}

    def command(
        runs: list[Path],
        *,
        num_items: int = 3,
        bands: tuple[str, ...] = ("a", "b"),
        json: bool = False,
    ) -> int:
        """Do it.

        Args:
            runs: folders
            num_items: how many
            bands: which
            json: print JSON
        """
        seen.update(runs=runs, num_items=num_items, bands=bands, json=json)
        return 7

    def run(*arguments: str) -> dict:
        parser = function_parser("demo", command)
        assert call(command, parser.instantiate(parser.parse_args(list(arguments))).as_dict()) == 7
        return dict(seen)

    assert run("x") == {"runs": [Path("x")], "num_items": 3, "bands": ("a", "b"), "json": False}
    assert run("x", "y", "--num-items", "5", "--bands", "c", "--json")["bands"] == ("c",)
    assert seen["num_items"] == 5
    assert seen["json"] is True


def test_collect_works_with_its_defaults(tmp_path):
    """Every default of a command passes its own parser."""
    out = tmp_path / "a.zarr"

    assert main(["collect", "--out", str(out), "--num-locations", "2", "--size", "24"]) == 0
    assert main(["info", str(out)]) == 0


@pytest.mark.parametrize("text", ["recipe: [", "\x00", "just words", "recipe: nobody"])
def test_nonsense_in_a_config_file_is_status_2(tmp_path, capsys, text):
    """A config that is no YAML, no mapping, or names no recipe is a usage error."""
    path = tmp_path / "c.yaml"
    path.write_text(text)

    try:
        status = main(["pretrain", "--config", str(path), "--data", "x", "--out", "y"])
    except SystemExit as ended:
        status = ended.code

    assert status == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("command", [["info", "a.zarr"], ["pretrain", "--data", "x", "--out", "y"]])
def test_binary_config_is_status_2(tmp_path, capsys, command):
    """A config that is no text at all is told without a traceback."""
    path = tmp_path / "c.yaml"
    path.write_bytes(bytes(range(128, 256)))

    assert main([*command, "--config", str(path)]) == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "choose another folder"),
        (errno.EACCES, "choose another folder"),
    ],
)
def test_what_the_system_refuses_is_told_with_a_remedy(monkeypatch, capsys, number, told):
    """Status 1 and a sentence, no traceback."""

    def refuse(arguments):
        raise OSError(number, os.strerror(number), "runs/first")

    monkeypatch.setattr(cli, "_dispatch", refuse)

    assert main(["info"]) == 1
    assert told in capsys.readouterr().err
