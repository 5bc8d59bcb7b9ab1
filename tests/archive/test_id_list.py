# SPDX-License-Identifier: Apache-2.0
"""Lists of ids as other programs write them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ssl4eo.archive.id_list import match_ids, read_ids


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path: Path) -> None:
    """Spreadsheets and Windows editors write one; the first place was unknown, and packing lost it."""
    (tmp_path / "ids.txt").write_bytes("0000003\r\n0000001\r\n".encode("utf-8-sig"))

    assert read_ids(tmp_path / "ids.txt") == ("0000003", "0000001")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (["3", "0000003", "3", "1"], "of 4 ids asked for, 2 repeat another: each is taken once"),
        (["3"] * 50, "of 50 ids asked for, 49 repeat another"),
    ],
)
def test_ids_too_many_are_told_as_such(wanted: list[str], told: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of fifty lines with one id, no 49 ids are there twice."""
    caplog.set_level(logging.INFO, "ssl4eo")

    match_ids(wanted, {"0000003", "0000001"})

    assert told in caplog.text
