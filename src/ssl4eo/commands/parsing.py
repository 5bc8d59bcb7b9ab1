# SPDX-License-Identifier: Apache-2.0
"""From a function to its command line: parameters before `*` are given by position, the others by name.

Types and defaults come from the signature, help from the Google docstring. A list takes one or more values, a
boolean is a switch, and `--two_words` may be spelled `--two-words`.
What is wrong with a command line is told in two lines, with the options that may have been meant.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import docstring_parser
from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from ssl4eo.errors import ConfigInvalid

MOST_NEAR = 3
"""Options that are named where one is not known."""


class CommandParser(ArgumentParser):
    """The parser of a command; its errors are a line, and a line that says where the options stand."""

    given: Sequence[str] = ()
    """The command line that is parsed, for what its errors advise."""
    shown_by: str = ""
    """The command whose help has all options, where it is more than the name."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and end with status 2; no page of usage goes before it."""
        if not self.exit_on_error:
            super().error(message, ex)
        text = re.sub(r'Parser key "([\w.]+)"(?: element \d+)?:', lambda found: f"{self._spelled(found[1])}:", message)
        text = re.sub(r"Expected a <class '(\w+)'>\.", r"expected \1;", text)
        text = re.sub(r"Expected a typing\.Literal\[([^\]]*)\]\.", r"expected one of \1;", text)
        text = " ".join(text.replace("; Got value:", "; got").split())
        advice = self._nearest(text) or self._taken(text)
        text = re.sub(r"(?<=arguments are required: ).*", lambda found: self._all_spelled(found[0]), text)
        text = re.sub(r'expected "action" to be one of {(.*)}, but it was not provided\.', _after, text)
        helped = f"`{self.shown_by or self.prog} --help` lists the options"
        lines = (f"{self.prog}: {text}{advice and f'; {advice}'}", helped)
        self.exit(2, "\n".join(lines) + "\n")

    def _spelled(self, key: str) -> str:
        return f"--{key}" if f"--{key}" in self._option_string_actions else key

    def _all_spelled(self, keys: str) -> str:
        return ", ".join(self._spelled(key) for key in keys.split(", "))

    def _nearest(self, message: str) -> str:
        """Name the options that those which are not known may mean, by their last word, then by their spelling."""
        head, _, rest = message.partition("unrecognized arguments: ")
        wanted = [] if head else [token.partition("=")[0] for token in rest.split() if token.startswith("--")]
        near = [name for option in wanted for name in self._like(option)]
        return f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""

    def _like(self, option: str) -> list[str]:
        """Give known options that are like one, nearest first."""
        spellings = {
            name: text.removeprefix("--").replace("-", "_")
            for text, action in self._option_string_actions.items()
            if text.startswith("--") and action.help != SUPPRESS
            for name in [_main_spelling(action)]
        }
        asked = option.removeprefix("--").replace("-", "_")
        last = asked.rpartition(".")[2]
        exact = [name for name, text in spellings.items() if text == asked or text.rpartition(".")[2] == last]
        if exact:
            return exact[:MOST_NEAR]
        names = {text: name for name, text in spellings.items()}
        names = {text.rpartition(".")[2]: name for text, name in names.items()} | names
        return [names[text] for text in difflib.get_close_matches(asked, names, n=1, cutoff=0.7)]

    def _taken(self, message: str) -> str:
        """Say which option took what was to be a path, where one may have."""
        head, _, rest = message.partition("the following arguments are required: ")
        positional = {action.dest for action in self._actions if not action.option_strings}
        missing = [name for name in rest.split(", ") if name in positional] if not head else []
        lists = [(text, values) for text, values in _with_values(self.given) if self._is_list(text) and values]
        if not missing or not lists:
            return ""
        option, values = lists[-1]
        return (
            f"{option} took {' '.join(values)}: give {' and '.join(missing)} before the options, "
            f"or end the values of {option} with --"
        )

    def _is_list(self, option: str) -> bool:
        action = self._option_string_actions.get(option)
        return action is not None and action.nargs == "+"


def _after(found: re.Match[str]) -> str:
    return f"what to do is missing; expected one of {found[1].replace(',', ', ')} after it"


def _main_spelling(action: argparse.Action) -> str:
    return next(text for text in action.option_strings if text.startswith("--"))


def _with_values(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Give each option of a command line with the words that follow it."""
    found: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if argument.startswith("-"):
            option, is_one, value = argument.partition("=")
            found.append((option, [value] if is_one else []))
        elif found:
            found[-1][1].append(argument)
    return found


def separated(values: list[str] | None) -> list[str] | None:
    """Give names of a list option that may be separated by commas in place of blanks.

    >>> separated(["B02,B03", "B04"])
    ['B02', 'B03', 'B04']
    """
    return None if values is None else [name for value in values for name in value.split(",") if name]


def function_parser(name: str, function: Callable[..., int], *, word: str = "", example: str = "") -> CommandParser:
    """Make the parser of a command from the function that runs it.

    Args:
        name: of the command.
        function: that runs it.
        word: of a command with several actions, the one that the function is; it may stand anywhere.
        example: arguments that show how it is called.
    """
    documented = docstring_parser.parse(function.__doc__ or "")
    texts = {p.arg_name: p.description or "" for p in documented.params}
    parser = CommandParser(
        prog=" ".join(filter(None, ("ssl4eo", name, word))),
        description=documented.short_description,
        epilog=f"example: ssl4eo {name} {example}" if example else None,
    )
    parser.add_argument("--config", action="config", help="YAML file with values of these options")
    if word:
        parser.add_argument("action", choices=[word], help=SUPPRESS)  # no name of a parameter
    hints = typing.get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        _add(parser, parameter, hints[parameter.name], texts.get(parameter.name, ""))
    return parser


def _add(parser: ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    """Add one argument."""
    required = parameter.default is inspect.Parameter.empty
    options: dict[str, Any] = {"help": text}
    if not required:
        default = parameter.default
        options["default"] = list(default) if isinstance(default, tuple) else default  # jsonargparse checks in place
    if hint is bool:
        assert parameter.default is False, f"a switch is off unless it is named: {parameter.name}"
        parser.add_argument(*_spellings(parameter.name), action="store_true", help=text)
        return
    element = _element(hint)
    options["type"] = hint if element is None else element
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        if element is not None:
            options["nargs"] = "+"
        parser.add_argument(*_spellings(parameter.name), required=required, **options)
        return
    if element is not None or not required:
        options["nargs"] = "+" if element is not None else "?"
    parser.add_argument(parameter.name, **options)


def _spellings(name: str) -> tuple[str, ...]:
    return (f"--{name}",) if "_" not in name else (f"--{name}", f"--{name.replace('_', '-')}")


def _element(hint: Any) -> Any:
    """Give the type of the elements of `list[X]`, `tuple[X, ...]` or one of these or None; else None."""
    options = [h for h in typing.get_args(hint) if h is not type(None)] if _is_union(hint) else [hint]
    if len(options) == 1 and typing.get_origin(options[0]) in (list, tuple):
        return typing.get_args(options[0])[0]
    return None


def _is_union(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    return origin is typing.Union or (origin is not None and origin.__name__ == "UnionType")


def parse(parser: CommandParser, arguments: Sequence[str]) -> Namespace:
    """Parse a command line.

    Raises:
        ConfigInvalid: a config file that is not text.
    """
    parser.given = tuple(arguments)
    try:
        return parser.parse_args(list(arguments))
    except UnicodeDecodeError as error:
        raise ConfigInvalid(
            f"a config file is not UTF-8 text ({error.reason} at byte {error.start})",
            expected="YAML with values of the options, as --print_config writes it",
        ) from error


def call(function: Callable[..., int], values: dict[str, Any]) -> int:
    """Call a command with its parsed values; what belongs to the parser is left out."""
    known = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    arguments = {name: values[name] for name in known}
    for name, value in arguments.items():
        if isinstance(value, list) and typing.get_origin(hints[name]) is tuple:
            arguments[name] = tuple(value)
    return function(**arguments)
