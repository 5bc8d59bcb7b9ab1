# SPDX-License-Identifier: Apache-2.0
"""From a function to its command line: parameters before `*` are given by position, the others by name.

Types and defaults come from the signature, help from the Google docstring. A list takes one or more values, a
boolean is a switch, and `--two_words` may be spelled `--two-words`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import docstring_parser
from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from ssl4eo.errors import ConfigInvalid


def function_parser(name: str, function: Callable[..., int], *, word: str = "", example: str = "") -> ArgumentParser:
    """Make the parser of a command from the function that runs it.

    Args:
        name: of the command.
        function: that runs it.
        word: of a command with several actions, the one that the function is; it may stand anywhere.
        example: arguments that show how it is called.
    """
    documented = docstring_parser.parse(function.__doc__ or "")
    texts = {p.arg_name: p.description or "" for p in documented.params}
    parser = ArgumentParser(
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


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse a command line.

    Raises:
        ConfigInvalid: a config file that is not text.
    """
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
