# SPDX-License-Identifier: Apache-2.0
"""Bars on stderr: what they leave behind."""

from __future__ import annotations

import pytest

from ssl4eo.progress import byte_bar, progress_bar


@pytest.mark.parametrize("bar", [progress_bar, byte_bar])
def test_a_bar_that_nobody_moved_goes_away(bar, capsys):
    """There was nothing to do: no 0/? is left."""
    with bar("packing"):
        pass

    assert "packing" not in capsys.readouterr().err


@pytest.mark.parametrize("bar", [progress_bar, byte_bar])
def test_a_bar_says_what_it_is_for_with_brackets(bar, capsys):
    """They are part of the name, not markup; a bar that was moved stays."""
    with bar("packing r[red]un") as move:
        move(1, 2)

    assert "packing r[red]un" in capsys.readouterr().err
