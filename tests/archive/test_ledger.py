# SPDX-License-Identifier: Apache-2.0
"""What could not be read is written down once, whoever meets it and however often."""

import multiprocessing
import pickle
from pathlib import Path

import pytest
from archive_forms import KINDS, write_kind

from ssl4eo.archive.ledger import Ledger
from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import ShardCorrupt
from ssl4eo.files import read_jsonl


def test_a_loss_is_noted_once(tmp_path: Path) -> None:
    """The same chunk in a later epoch adds no line; another season does."""
    ledger = Ledger(tmp_path / "logs/lost.jsonl")

    for _ in range(3):
        ledger.note(location="7", season=0, what="S2L1C", reason="x")
    ledger.note(location="7", season=1, what="S2L1C", reason="y")

    assert list(read_jsonl(ledger.path)) == [
        {"location": "7", "season": 0, "what": "S2L1C", "reason": "x"},
        {"location": "7", "season": 1, "what": "S2L1C", "reason": "y"},
    ]
    assert len(ledger) == 2


def test_the_error_of_a_read_can_be_noted(tmp_path: Path) -> None:
    """Reading goes on with the next location; the line says which image is lost and why."""
    archive = write_kind(tmp_path / "a.zarr", KINDS["stepped"])
    shard = archive / "S1GRD/10m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    ledger = Ledger(tmp_path / "lost.jsonl")
    opened, read = open_archive(archive), 0

    for index in range(len(opened)):
        for season in range(2):
            try:
                opened.read_pixels("S1GRD", index=index, season=season)
                read += 1
            except ShardCorrupt as error:
                ledger.note_error(error)

    (row,) = read_jsonl(ledger.path)
    assert read == 5
    assert (row["location"], row["season"], row["what"]) == ("0000000", 0, "S1GRD")
    assert "checksum" in row["reason"]


def test_an_error_that_tells_no_image_is_raised_again(tmp_path: Path) -> None:
    """A damaged table is more than one image: nothing is swallowed."""
    ledger = Ledger(tmp_path / "lost.jsonl")

    with pytest.raises(ShardCorrupt, match="table"):
        ledger.note_error(ShardCorrupt("the table is damaged", path="x"))

    assert not ledger.path.exists()


def _note_many(ledger: Ledger, number: int) -> None:
    for season in range(40):
        ledger.note(location=f"{number}", season=season, what="S2L1C", reason="x" * 200)


def test_processes_do_not_cut_each_others_lines(tmp_path: Path) -> None:
    """Four writers at once: every line is whole."""
    ledger = pickle.loads(pickle.dumps(Ledger(tmp_path / "lost.jsonl")))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_note_many, args=(ledger, i)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    rows = {(row["location"], row["season"]) for row in read_jsonl(ledger.path)}

    assert len(rows) == 160
    assert len(ledger.path.read_text().splitlines()) == 160
