# SPDX-License-Identifier: Apache-2.0
"""What a user adds to our tables without touching them: `module:name` or `file.py:name` in place of a name.

A recipe, a task, a layout, a service or a network of one's own is an object in a module that Python finds, or in a
file. It is imported when it is asked for by such a name, and at no other time: a name in a file that was read (a run's
config, a checkpoint) is never looked up here, so that data from elsewhere run no code.
A file's folder goes to the end of the search path, so that worker processes find its module too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ssl4eo.errors import ConfigInvalid, DataMissing, UnknownName, unknown_name

_REFERENCE = re.compile(r"(?P<place>.+):(?P<name>[^\W\d]\w*)\Z")
FORM = "module:name or file.py:name"
"""How objects of one's own are named, in words."""


def is_own(name: str) -> bool:
    """Say whether a name means an object of the user's own; names of our tables contain no colon.

    >>> is_own("my_task.py:open_task"), is_own("eurosat")
    (True, False)
    """
    return _REFERENCE.match(name) is not None


def load_own(kind: str, reference: str, *, fits: Callable[[object], bool] = lambda _: True) -> Any:
    """Import the object that `module:name` or `file.py:name` means.

    Args:
        kind: what it is to be, for messages: recipe, task, layout, service, network.
        reference: as given by the user.
        fits: tells what can stand there, for the names that are offered where there is none of this one.

    Raises:
        ConfigInvalid: not of that form, no such module, a module that cannot be imported, or a file of its name that
            would hide another module.
        DataMissing: no such file.
        UnknownName: the module has no such object.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise ConfigInvalid(f"{kind} {reference!r}", expected=FORM)
    place, name = match["place"], match["name"]
    module = _import_file(Path(place), kind) if place.endswith(".py") else _import(place, kind)
    if not hasattr(module, name):
        raise _no_such(
            kind,
            place,
            name,
            [n for n, value in vars(module).items() if _is_made_here(n, value, module) and fits(value)],
        )
    return getattr(module, name)


def _is_made_here(name: str, value: object, module: ModuleType) -> bool:
    """Say whether an object of a module may be meant: not a private one, a module, nor what it imported from others."""
    if name.startswith("_") or isinstance(value, ModuleType):
        return False
    is_code = callable(value) and hasattr(value, "__qualname__")  # of an instance the module is its class's
    return not is_code or getattr(value, "__module__", None) == module.__name__


def _no_such(kind: str, place: str, name: str, known: list[str]) -> UnknownName:
    if known:
        return unknown_name(f"{kind} in {place}", name, known)
    return UnknownName(
        f"no {kind} in {place} is called {name!r}",
        expected=f"the name of a {kind}, of which it has none",
        remedy="write one: docs/extending has an example of each",
    )


def from_anywhere(name: str) -> str:
    """Give a name that means the same in any working folder: of `file.py:name` the path is made absolute."""
    match = _REFERENCE.match(name)
    if match is None or not match["place"].endswith(".py"):
        return name
    return f"{Path(match['place']).absolute()}:{match['name']}"


def require_own(kind: str, reference: str, found: object, *, expected: str, fits: bool) -> None:
    """Raise unless an object that was loaded is what it has to be.

    Raises:
        ConfigInvalid: it is not.
    """
    if not fits:
        raise ConfigInvalid(f"{kind} {reference} is a {type(found).__name__}", expected=expected)


def _import_file(path: Path, kind: str) -> ModuleType:
    if not path.is_file():
        raise DataMissing(f"there is no {path}", expected=f"a file with a {kind}", remedy="check the path", path=path)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    _hand_on(folder)
    module = _import(path.stem, kind)
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise ConfigInvalid(
            f"{path} has the name of another module, {module.__file__ or path.stem}",
            expected="a name of its own",
            remedy="rename the file",
        )
    return module


def _hand_on(folder: str) -> None:
    """Let processes that are started by running the command once more find the folder, too."""
    known = os.environ.get("PYTHONPATH", "")
    if folder not in known.split(os.pathsep):
        os.environ["PYTHONPATH"] = f"{known}{os.pathsep}{folder}" if known else folder


def _import(place: str, kind: str) -> ModuleType:
    try:
        return import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise _broken(place, kind, error) from error
        raise ConfigInvalid(
            f"no module {place} for {kind}",
            expected=FORM,
            remedy="install it, put its folder on PYTHONPATH, or give the path of its file",
        ) from error
    except Exception as error:
        raise _broken(place, kind, error) from error


def _broken(place: str, kind: str, error: BaseException) -> ConfigInvalid:
    return ConfigInvalid(
        f"{place}, named for {kind}, cannot be imported ({type(error).__name__}: {' '.join(str(error).split())})",
        expected="a module that can",
        remedy=f"try it: python -c 'import {place}'",
    )
