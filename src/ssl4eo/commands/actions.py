# SPDX-License-Identifier: Apache-2.0
"""Verbs with several actions: `ssl4eo VERB ACTION ...`, where each action is a function with its own parser."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jsonargparse import ArgumentParser

from ssl4eo.commands.parsing import function_parser
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


def find_action(actions: Mapping[str, Action], arguments: Sequence[str]) -> str | None:
    """Give the first argument that is an action, None if none is."""
    return next((argument for argument in arguments if argument in actions), None)


def action_parser(verb: str, actions: Mapping[str, Action], arguments: Sequence[str], *, title: str) -> ArgumentParser:
    """Make the parser of the action that the arguments name, or of the choice among them.

    Args:
        verb: name of the verb.
        actions: by word.
        arguments: after the verb.
        title: of the verb, for the help of the choice.

    Raises:
        UnknownName: no such action.
        ConfigInvalid: an option of another action.
    """
    word = find_action(actions, arguments)
    if word is None:
        if arguments and not arguments[0].startswith("-"):
            raise unknown_name(f"action of ssl4eo {verb}", arguments[0], actions)
        return _choice(verb, actions, title)
    _require_own_options(verb, actions, word, arguments)
    return function_parser(verb, actions[word].function, word=word, example=actions[word].example)


def _choice(verb: str, actions: Mapping[str, Action], title: str) -> ArgumentParser:
    """Make the parser that knows the actions and nothing of what they take."""
    first = next(iter(actions.values())).example
    parser = ArgumentParser(prog=f"ssl4eo {verb}", description=title, epilog=f"example: ssl4eo {verb} {first}")
    choices = parser.add_subcommands(dest="action", metavar="ACTION")
    for word, action in actions.items():
        choices.add_subcommand(word, ArgumentParser(), help=action.title)
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
