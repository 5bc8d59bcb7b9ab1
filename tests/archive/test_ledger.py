# SPDX-License-Identifier: Apache-2.0
"""What could not be read is written down, whoever meets it."""

import multiprocessing
from pathlib import Path

import pytest
from archive_forms import KINDS, write_kind

from ssl4eo.archive.ledger import NotedImages, note
from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import ShardCorrupt
from ssl4eo.files import read_jsonl


def test_the_error_of_a_read_can_be_noted(tmp_path: Path) -> None:
    """Reading goes on with the next image; the line says which one is lost and why."""
    archive = write_kind(tmp_path / "a.zarr", KINDS["stepped"])
    shard = archive / "S1GRD/10m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    ledger = tmp_path / "logs/lost.jsonl"
    opened, read = open_archive(archive), 0

    for index in range(len(opened)):
        for season in range(2):
            try:
                opened.read_pixels("S1GRD", index=index, season=season)
                read += 1
            except ShardCorrupt as error:
                note(ledger, error)

    (row,) = read_jsonl(ledger)
    assert read == 5
    assert (row["location"], row["season"], row["what"], row["archive"]) == ("0000000", 0, "S1GRD", str(archive))
    assert "checksum" in row["reason"]


def test_an_error_that_tells_no_image_is_raised_again(tmp_path: Path) -> None:
    """A damaged table is more than one image: nothing is swallowed."""
    with pytest.raises(ShardCorrupt, match="table"):
        note(tmp_path / "lost.jsonl", ShardCorrupt("the table is damaged", path="x"))

    assert not (tmp_path / "lost.jsonl").exists()


def _note_many(ledger: Path, number: int) -> None:
    for season in range(40):
        where = {"archive": "a", "what": "S2L1C", "location": str(number), "season": season}
        note(ledger, ShardCorrupt("x" * 200, **where))


def test_processes_do_not_cut_each_others_lines(tmp_path: Path) -> None:
    """Four writers at once: every line is whole."""
    ledger = tmp_path / "lost.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_note_many, args=(ledger, i)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    rows = {(row["location"], row["season"]) for row in read_jsonl(ledger)}

    assert len(rows) == 160
    assert len(ledger.read_text().splitlines()) == 160


def test_images_are_counted_once_however_often_they_are_met(tmp_path: Path) -> None:
    """From where the last count ended; a line that is being written waits, one of somebody else counts for nothing."""
    path = tmp_path / "lost.jsonl"
    counted = NotedImages(path)
    assert counted.count() == 0

    for location, season in (("1", 0), ("1", 0), ("1", 1)):
        note(path, ShardCorrupt("lost", archive="a", what="S1GRD", location=location, season=season))
    assert counted.count() == 2
    with path.open("a") as stream:
        stream.write('[1]\n{"location": []}\nno JSON\n{"location": "2"')
    assert counted.count() == 2
    note(path, ShardCorrupt("lost", archive="a", what="S2L1C", location="1", season=1))
    assert counted.count() == NotedImages(path).count() == 3
