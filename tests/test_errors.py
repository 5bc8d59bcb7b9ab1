# SPDX-License-Identifier: Apache-2.0
"""The error tree."""

from __future__ import annotations

import inspect
import pickle

import pytest

from ssl4eo import errors
from ssl4eo.errors import ShardCorrupt, Ssl4eoError

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Ssl4eoError) and kind is not Ssl4eoError
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_builtin_too(kind):
    """Users may catch ValueError, OSError and so on."""
    builtin = [
        base
        for base in kind.__mro__
        if base.__module__ == "builtins" and base not in (Exception, BaseException, object)
    ]

    assert builtin


@pytest.mark.parametrize("kind", KINDS)
def test_message_has_three_parts_and_survives_pickling(kind):
    """Found, expected and remedy are all said, also on the way from a worker process."""
    error = kind("13 bands", expected="12", remedy="drop B10", location="0000017")

    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error) == "13 bands; expected 12: drop B10"
    assert type(copy) is kind
    assert copy.where == {"location": "0000017"}


def test_tree_in_the_docstring_lists_every_class():
    """The drawing is the code."""
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in KINDS)


def test_error_can_be_made_from_a_message_alone():
    """Torch re-raises worker errors that way."""
    assert str(ShardCorrupt("text")) == "text"
