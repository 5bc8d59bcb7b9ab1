# SPDX-License-Identifier: Apache-2.0
"""Verbs with several actions: `ssl4eo VERB ACTION ...`, where each action is a function with its own parser."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jsonargparse import ArgumentParser, Namespace

from ssl4eo.commands.parsing import CommandParser, call, function_parser
from ssl4eo.errors import ConfigInvalid, unknown_name


@dataclass(frozen=True)
class Action:
    """A word after a verb."""

    function: Callable[..., int]
    title: str
    example: str

    @property
    def options(self) -> tuple[str, ...]:
        """Names of what is given by name."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Actions:
    """All that can follow a verb; a module of a verb hands on `build_parser` and `run_parsed` of one of these.

    Args:
        verb: its name.
        title: of the verb, for the help of the choice.
        by_word: the actions; what is called `list` takes no name, what is called `show` takes one.
        is_name: tells a name, which someone may write after `list`.
    """

    verb: str
    title: str
    by_word: Mapping[str, Action]
    is_name: Callable[[str], bool] = field(default=lambda _: False)

    def build_parser(self, arguments: Sequence[str]) -> CommandParser:
        """Make the parser of the action that the arguments name, or of the choice among them.

        Args:
            arguments: after the verb.

        Raises:
            UnknownName: no such action.
            ConfigInvalid: an option of another action, or a name to list.
        """
        word = next((argument for argument in arguments if argument in self.by_word), None)
        if word is None:
            if arguments and not arguments[0].startswith("-"):
                raise unknown_name(f"action of ssl4eo {self.verb}", arguments[0], self.by_word)
            return _choice(self.verb, self.by_word, self.title)
        _require_own_options(self.verb, self.by_word, word, arguments)
        if word == "list":
            self._require_no_name(arguments)
        return function_parser(self.verb, self.by_word[word].function, word=word, example=self.by_word[word].example)

    def run_parsed(self, parser: ArgumentParser, values: Namespace) -> int:
        """Do what the parsed arguments say."""
        return call(self.by_word[values.action].function, parser.instantiate(values).as_dict())

    def _require_no_name(self, arguments: Sequence[str]) -> None:
        for name in filter(self.is_name, arguments):
            raise ConfigInvalid(
                f"{self.verb} list {name}", expected="no name", remedy=f"did you mean {self.verb} show {name}?"
            )


def _choice(verb: str, actions: Mapping[str, Action], title: str) -> CommandParser:
    """Make the parser that knows the actions and nothing of what they take."""
    first = next(iter(actions.values())).example
    parser = CommandParser(prog=f"ssl4eo {verb}", description=title, epilog=f"example: ssl4eo {verb} {first}")
    choices = parser.add_subcommands(dest="action", metavar="ACTION")
    for word, action in actions.items():
        choices.add_subcommand(word, CommandParser(), help=action.title)
    return parser


def _require_own_options(verb: str, actions: Mapping[str, Action], word: str, arguments: Sequence[str]) -> None:
    """Refuse what another action takes, with what this one does; the parser refuses what none does."""
    own = actions[word].options
    for argument in arguments:
        option = argument.removeprefix("--").partition("=")[0].replace("-", "_")
        others = [other for other, action in actions.items() if option in action.options]
        if argument.startswith("--") and others and option not in own:
            raise ConfigInvalid(
                f"{verb} {word} with --{option}",
                expected=" or ".join(f"--{name}" for name in own),
                remedy=f"--{option} is of {', '.join(others)}",
            )
