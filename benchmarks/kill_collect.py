# SPDX-License-Identifier: Apache-2.0
"""Kill `ssl4eo collect` at random moments, go on each time, and compare with a run that nobody disturbed.

    python benchmarks/kill_collect.py --kills 30 --seed 0

The command line itself, in a process of its own, from the synthetic service; SIGKILL comes after a random part
of the time that a whole run takes, the first quarter left out, in which the program starts. Prints a line a kill and
one at the end; status 1 if an archive differs, a place is lost or doubled, or the ledger claims what is not stored.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def command(folder: Path, name: str) -> list[str]:
    """Give the command of a collection."""
    return [
        sys.executable, "-m", "ssl4eo.cli", "collect", "--places", str(folder / "places.csv"), "--out",
        str(folder / name), "--modalities", "S1GRD", "S2L2A", "--size", "24", "--max-cloud", "1.0", "--threads", "4",
        "--json",
    ]  # fmt: skip


def content(archive: Path) -> dict[str, bytes]:
    """Read all files of an archive but those that hold the time of writing."""
    dated = {archive / "zarr.json", archive / "checksums.json"}
    return {str(p.relative_to(archive)): p.read_bytes() for p in archive.rglob("*") if p.is_file() and p not in dated}


def rows(folder: Path, name: str) -> dict[str, tuple[str, int]]:
    """Read status and tries of the places out of the ledger."""
    with sqlite3.connect(folder / f"{name}.ledger.sqlite") as ledger:
        found = ledger.execute("SELECT id, status, tries FROM places").fetchall()
    return {place: (status, tries) for place, status, tries in found}


def kill_once(folder: Path, after: float) -> dict[str, Any]:
    """Start, or go on, and kill; say how far it had come."""
    told = folder / "errors.txt"
    with told.open("w") as errors:
        process = subprocess.Popen(command(folder, "killed.zarr"), stdout=subprocess.DEVNULL, stderr=errors)
        try:
            status: int | None = process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            status = None
    segments = len(list((folder / "killed.zarr.partial/segments").glob("[0-9]*")))
    row = {"after_s": round(after, 2), "ended_by_itself": status, "segments": segments}
    return {**row, "errors": told.read_text()[-500:]} if status else row


def main() -> int:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--places", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    luck = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = [f"{i:07d},{10 + i / 20},48.0" for i in range(options.places)]
        (folder / "places.csv").write_text("\n".join(["id,lon,lat", *table]) + "\n")
        begin = time.monotonic()
        subprocess.run(command(folder, "calm.zarr"), check=True, stdout=subprocess.DEVNULL)
        whole = time.monotonic() - begin
        calm, kills, rounds = content(folder / "calm.zarr"), 0, 0
        while kills < options.kills:
            row = kill_once(folder, luck.uniform(whole / 4, whole))
            kills += row["ended_by_itself"] is None
            print(json.dumps({"kill": kills, **row}), flush=True)
            is_whole = (folder / "killed.zarr").exists()  # also where the kill came after the last rename
            if row["ended_by_itself"] or (is_whole and content(folder / "killed.zarr") != calm):
                print("it failed, or the archive differs", flush=True)
                return 1
            if is_whole:  # begin anew: what is done cannot be killed
                rounds += 1
                shutil.rmtree(folder / "killed.zarr")
        subprocess.run(command(folder, "killed.zarr"), check=True, stdout=subprocess.DEVNULL)
        told = rows(folder, "killed.zarr")
        same = content(folder / "killed.zarr") == calm
        true = {status for status, _ in told.values()} == {"done"} and len(told) == options.places
        print(
            json.dumps({"kills": kills, "whole_s": round(whole, 1), "archives": rounds + 1, "same": same, "true": true})
        )
        return 0 if same and true else 1


if __name__ == "__main__":
    sys.exit(main())
