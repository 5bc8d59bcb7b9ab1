# SPDX-License-Identifier: Apache-2.0
"""Measure the floors of collecting: locations an hour, memory, and going on with 250,000 locations.

    python benchmarks/bench_collect.py rate     # ours against the reference's sequence of requests, same stand-in
    python benchmarks/bench_collect.py memory   # resident memory over many places
    python benchmarks/bench_collect.py resume   # a journal and a ledger of 250,000 places

The service is the Earth Engine stand-in of the tests, in a process of its own, which waits before each answer: latency,
and the time that the answer takes at a bandwidth that all clients share. Scenes are synthetic.
The reference's sequence is written here anew from its description: for each season and collection it asks how many
scenes there are, then for the facts of the latest one, then for its pixels; eight threads.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REMOTE = Path(__file__).resolve().parents[1] / "tests/collection/remote"
sys.path.insert(0, str(REMOTE))

MODALITIES = ("S1GRD", "S2L1C", "S2L2A")
DATES = tuple(dt.datetime(2021, month, 20, 10, tzinfo=dt.UTC) for month in (3, 6, 9, 12))
REFERENCE_THREADS = 8


@dataclass(frozen=True)
class FourSeasons:
    """Fifteen days around four dates."""

    def __call__(self, place: str, lat: float) -> Sequence[Any]:
        """Give the windows of any place."""
        from ssl4eo.locations.window import Range, Window

        half = dt.timedelta(days=15)
        return tuple(Window((Range(date, date - half, date + half),)) for date in DATES)


def serve(latency: float, bandwidth: float) -> None:
    """Be the stand-in until stdin closes; prints the address.

    Every place is the same few square kilometers, so that the stand-in has little to compute: answers to reads are kept
    by what they ask for, and searches by what they filter.
    """
    import earthengine_server as stand_in
    from ground_scenes import scenes_at

    kept: dict[bytes, bytes] = {}
    line, free_at = threading.Lock(), [0.0]
    work = stand_in._Handler._work

    def cached(self: Any, kind: str, project: str, asked: Any) -> bytes:
        if kind not in ("value", "pixels"):
            return work(self, kind, project, asked)
        self._require_token(project)
        body = bytes(asked.body)
        if body not in kept:
            kept[body] = work(self, kind, project, asked)
        answer = kept[body]
        asked.body = None
        with line:  # one line that all answers go through
            start = max(free_at[0], time.monotonic())
            free_at[0] = start + len(answer) / bandwidth
        time.sleep(max(latency + free_at[0] - time.monotonic(), 0.0))
        return answer

    stand_in._Handler._work = cached
    with stand_in.EarthEngineServer() as server:
        server.most = 1000
        server.add(*scenes_at(10.0, 48.0, DATES, modalities=MODALITIES))
        print(server.url, flush=True)
        while sys.stdin.readline():
            server.asked.clear()


@dataclass
class StandIn:
    """A running stand-in."""

    url: str
    process: subprocess.Popen[str]

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def start(latency: float, bandwidth: float) -> StandIn:
    """Start a stand-in."""
    command = [sys.executable, __file__, "serve", "--latency", str(latency), "--bandwidth", str(bandwidth)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return StandIn(process.stdout.readline().strip(), process)


def service_of(url: str, calls: int) -> Any:
    """Give Earth Engine at a stand-in."""
    import earthengine_helpers
    from ee import deprecation

    from ssl4eo.collection.remote import earthengine_session
    from ssl4eo.collection.remote.earthengine import EarthEngine
    from ssl4eo.collection.remote.earthengine_session import Account

    deprecation.InitializeDeprecatedAssets = lambda: None  # it would ask the internet
    earthengine_helpers.ADDRESS[:] = [url]
    earthengine_session.close()
    account = Account(project="stand-in", url=url, credentials=earthengine_helpers.make_credentials, concurrent=calls)
    return EarthEngine(account=account)


def source_of(service: Any, count: int, size: int, modalities: Sequence[str] = MODALITIES) -> Any:
    """Put places, seasons and a service together."""
    from ssl4eo.collection.remote.collected import CollectedSource
    from ssl4eo.collection.remote.selection import Choice
    from ssl4eo.locations.place import Place
    from ssl4eo.sample import Provenance

    places = {f"{i:07d}": Place(f"{i:07d}", ((10.0, 48.0),), {"city": "x"}) for i in range(count)}
    return CollectedSource(
        service, places, FourSeasons(), {n: service.product(n) for n in modalities},
        Provenance("synthetic, for a benchmark", synthetic=True, licence="CC0-1.0"), num_seasons=4,
        choice=Choice(max_scene_cloud=1.0), size=size,
    )  # fmt: skip


def reference(service: Any, count: int, size: int) -> float:
    """Ask as the reference does; nothing is stored. Gives seconds.

    Its third request brings all bands at once as nested lists of JSON, several times the bytes of an array; here it
    brings the same arrays as ours, which is in its favor. Neither are its double downloads repeated.
    """
    from functools import partial

    from ee import data

    from ssl4eo.collection.remote.earthengine_expressions import pixel_grid, pixels_expression, search_expression
    from ssl4eo.collection.remote.earthengine_session import session_for
    from ssl4eo.collection.remote.patch_grid import patch_grid

    session_for(service.account, service.retry)
    source = source_of(service, count, size)
    grid = patch_grid(10.0, 48.0, size=size)

    def fetch(name: str) -> None:
        point = source.places[name].location()
        for window in source.windows(name, 48.0):
            for product in source.products.values():
                search = partial(search_expression, point, window.ranges, product)
                data.computeValue(search())  # how many
                (found,) = data.computeValue(search())["features"]  # the latest of them
                asset = f"{product.collection}/{found['properties']['index']}"
                bands = dict(product.bands)
                request = pixel_grid(grid.crs, grid.left, grid.top, 10, (size, size))
                expression = pixels_expression(asset, bands, dtype="float32" if "VV" in bands else "uint16")
                asked = {"expression": expression, "fileFormat": "NUMPY_NDARRAY", "grid": request}
                data.computePixels({**asked, "bandIds": [*bands, "observed"]})

    begin = time.perf_counter()
    with ThreadPoolExecutor(REFERENCE_THREADS) as pool:
        list(pool.map(fetch, source.places))
    return time.perf_counter() - begin


def ours(service: Any, count: int, size: int, threads: int) -> float:
    """Collect into an archive. Gives seconds, closing the archive included."""
    from ssl4eo.collecting.collect import collect

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        report = collect(source_of(service, count, size), Path(folder) / "a.zarr", threads=threads, statistics=False)
        seconds = time.perf_counter() - begin
    assert report.totals.counts["done"] == count
    return seconds


def rate(options: argparse.Namespace) -> None:
    """Measure locations an hour, by turns."""
    with start(options.latency, options.bandwidth * 1e6) as stand_in:
        service = service_of(stand_in.url, options.threads)
        for measure in (lambda: reference(service, 1, options.size), lambda: ours(service, 1, options.size, 1)):
            measure()  # what is asked for the first time is computed
        for turn in range(options.turns):
            figures: dict[str, Any] = {"turn": turn}
            for name, count, measure in (
                ("reference", options.reference_count, lambda n: reference(service, n, options.size)),
                ("ours", options.count, lambda n: ours(service, n, options.size, options.threads)),
            ):
                cpu = time.process_time()
                seconds = measure(count)
                figures[f"{name}_an_hour"] = round(3600 * count / seconds)
                figures[f"{name}_cpu_ms"] = round(1000 * (time.process_time() - cpu) / count, 1)
            figures["ratio"] = round(figures["ours_an_hour"] / figures["reference_an_hour"], 2)
            print(json.dumps(figures), flush=True)


def memory(options: argparse.Namespace) -> None:
    """Collect many small places and watch the memory of this process."""
    from ssl4eo.collecting.collect import collect
    from ssl4eo.collection.remote.synthetic import SyntheticService

    rows: list[tuple[int, float]] = []

    def note(done: int, _: int | None) -> None:
        if done % max(options.count // 10, 1) == 0 and (not rows or rows[-1][0] != done):
            gc.collect()
            rows.append((done, _resident_mb()))

    with tempfile.TemporaryDirectory() as folder:
        source = source_of(SyntheticService(), options.count, options.size, ("S2L2A",))
        begin = time.perf_counter()
        collect(source, Path(folder) / "a.zarr", threads=8, statistics=False, progress=note)
    for done, used in rows:
        print(f"{done:>8} places {used:8.1f} MB", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.1f} MB, {time.perf_counter() - begin:.0f} s")


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def resume(options: argparse.Namespace) -> None:
    """Make the state of a collection that was interrupted after most of its places, and measure going on."""
    from ssl4eo.archive.writer import ArchiveWriter
    from ssl4eo.collecting import collect as collecting
    from ssl4eo.collecting.fetching import NOTE_FOLDER, NotedSource
    from ssl4eo.collecting.ledger import Ledger, ledger_path
    from ssl4eo.collection.remote.synthetic import SyntheticService

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        target = Path(folder) / "a.zarr"
        source = source_of(SyntheticService(), options.count, 24)
        shards = (options.count - 100) // 64
        _make_state(source, target, shards)
        size = (target.with_name("a.zarr.partial") / "progress.jsonl").stat().st_size
        for turn in range(options.turns):
            begin, cpu = time.perf_counter(), time.process_time()
            ids = list(source.ids())
            plan = {"source": collecting._identity(collecting._facts(source)), "segment_locations": 1, "nodata": "skip"}
            with (
                ArchiveWriter(
                    target, forms=source.forms, num_seasons=4, shape=source.shape, provenance=source.provenance,
                    plan=plan,
                ) as writer,
                Ledger.open(ledger_path(target), create=True) as ledger,
            ):  # fmt: skip
                noted = NotedSource(source, writer.work.absolute() / NOTE_FOLDER, 0)
                noted.notes.mkdir(exist_ok=True)
                collecting._sweep(writer, len(ids))
                collecting._settle(ledger, writer, noted, ids)
                first = next(collecting._tasks(ids, writer, ledger))
            wall, used = time.perf_counter() - begin, time.process_time() - cpu
            assert first.number == shards * 64
            row = {"turn": turn, "places": len(ids), "done": shards * 64, "wall_s": round(wall, 2)}
            print(json.dumps({**row, "cpu_s": round(used, 2), "journal_mb": round(size / 1e6)}), flush=True)


def _make_state(source: Any, target: Path, shards: int) -> None:
    """Collect 64 places as they are collected, then write the notes of many shards after theirs."""
    from itertools import islice
    from zlib import crc32

    from ssl4eo.archive.writer import ArchiveWriter
    from ssl4eo.collecting import collect as collecting
    from ssl4eo.collecting.ledger import Entry, Ledger, ledger_path

    ids = list(source.ids())
    plan = {"source": collecting._identity(collecting._facts(source)), "segment_locations": 1, "nodata": "skip"}
    with ArchiveWriter(
        target, forms=source.forms, num_seasons=4, shape=source.shape, provenance=source.provenance, plan=plan
    ) as writer:
        for name in islice(ids, 64):
            writer.append(source.read(name))
    work = target.with_name("a.zarr.partial")
    journal = work / "progress.jsonl"
    row = json.loads(journal.read_text())
    with journal.open("wb") as out:
        for shard in range(shards):
            names = ids[64 * shard : 64 * (shard + 1)]
            files = {}
            for name, facts in row["files"].items():
                other = ".".join([*name.split(".")[:1], str(shard), *name.split(".")[2:]]) if shard else name
                files[other] = facts
                if shard:
                    (work / "archive" / other).hardlink_to(work / "archive" / name)
            detail = json.dumps(
                {
                    "locations": [{**r, "id": n} for r, n in zip(row["detail"]["locations"], names, strict=True)],
                    "images": row["detail"]["images"],
                }
            ).encode()
            head = {k: v for k, v in row.items() if k != "detail"}
            head |= {
                "shard": shard,
                "ids": names,
                "files": files,
                "segment": 64 * (shard + 1),
                "detail_bytes": len(detail),
            }
            head |= {"crc32": crc32(detail)}
            out.write(json.dumps(head).encode()[:-1] + b', "detail": ' + detail + b"}\n")
    with Ledger.open(ledger_path(target), create=True) as ledger:
        ledger.add(ids)
        ledger.note(Entry(name, "done", "", 1, 10, 2_000_000, 12.5) for name in ids[: 64 * shards])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rate", "memory", "resume", "serve"])
    parser.add_argument("--latency", type=float, default=0.1, help="of each request [s]")
    parser.add_argument("--bandwidth", type=float, default=50.0, help="of all answers together [MB/s]")
    parser.add_argument("--count", type=int, help="places")
    parser.add_argument("--reference-count", type=int, default=16, help="places of the reference's sequence")
    parser.add_argument("--size", type=int, default=24, help="width of a patch [px]")
    parser.add_argument("--threads", type=int, default=40, help="of ours; the reference has 8")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the state of `resume`")
    options = parser.parse_args()
    if options.what == "serve":
        serve(options.latency, options.bandwidth)
        return
    options.count = options.count or {"rate": 120, "memory": 2000, "resume": 250_000}[options.what]
    {"rate": rate, "memory": memory, "resume": resume}[options.what](options)


if __name__ == "__main__":
    main()
