# SPDX-License-Identifier: Apache-2.0
"""Collecting: the same archive whatever the workers, faults and interruptions; a ledger that is true."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from collecting_stage import Faulty, TwoWindows, content, places, stage

import ssl4eo
from ssl4eo.collecting import fetching
from ssl4eo.collecting.collect import collect, has_begun
from ssl4eo.collecting.fetching import NOTE_FOLDER, NotedSource, Stop
from ssl4eo.collecting.ledger import Entry, Ledger, ledger_path
from ssl4eo.collecting.seasons import PlaceWindows
from ssl4eo.collection.remote.selection import Choice
from ssl4eo.collection.remote.stac.service import StacService
from ssl4eo.errors import (
    Busy,
    ConfigInvalid,
    DataMissing,
    NoImagery,
    RunStopped,
    ServiceFailed,
    SourceInvalid,
    TargetExists,
    WriteFailed,
)
from ssl4eo.locations.place import Place
from ssl4eo.locations.seasons import Calendar

DRIVER = Path(__file__).with_name("collect_and_be_killed.py")


def statuses(target: Path) -> dict[str, str]:
    with Ledger.open(ledger_path(target)) as ledger:
        return {row["id"]: row["status"] for s in ("pending", "done", "skipped", "failed") for row in ledger.rows(s)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The archive of nine places, collected by one thread."""
    target = tmp_path_factory.mktemp("undisturbed") / "a.zarr"
    collect(stage(9), target, threads=1)
    return content(target)


@pytest.mark.parametrize("workers", [{"threads": 5}, {"threads": 2, "dask": "local"}])
def test_the_archive_does_not_depend_on_who_collects(tmp_path, undisturbed, workers):
    """Byte for byte: five threads, two processes of Dask."""
    report = collect(stage(9), tmp_path / "a.zarr", **workers)

    assert report.is_finished
    assert report.totals.counts["done"] == 9
    assert content(tmp_path / "a.zarr") == undisturbed


def test_a_location_is_what_was_asked_for(tmp_path):
    """Times within the windows, one grid in UTM, both products of one acquisition, facts of the place."""
    collect(stage(1, size=96, modalities=("S1GRD", "S2L1C", "S2L2A")), tmp_path / "a.zarr")

    archive = ssl4eo.open_archive(tmp_path / "a.zarr")
    sample = archive.sample(0)
    windows = TwoWindows()("", 48.0)
    for season in range(2):
        images = {name: row[season] for name, row in sample.images.items()}
        assert len({image.crs for image in images.values()} | {"EPSG:32632"}) == 1
        assert len({image.transform for image in images.values()}) == 1
        assert images["S2L1C"].time == images["S2L2A"].time
        assert all(windows[season].range_of(image.time) is not None for image in images.values())
    assert sample.labels["city"] == "c0"
    assert sample.labels["attempt"] == 0
    assert -1 <= sample.labels["s1_s2_correlation"] <= 1


def test_a_place_without_imagery_takes_its_spare_point_and_a_place_without_any_is_skipped(tmp_path):
    """The spare lies a degree south; nothing is tried again by a further run."""
    service = Faulty(empty=frozenset({"10.25"}))
    every = places(3)
    source = stage(3, service=service)

    report = collect(source, tmp_path / "a.zarr")

    assert report.totals.counts == {"pending": 0, "done": 2, "skipped": 1, "failed": 0}
    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        (row,) = ledger.rows("skipped")
    assert (row["id"], row["attempts"]) == ("0000001", 2)
    assert "point 0: no S1GRD in season 0; point 1: no S1GRD in season 0" in row["reason"]
    assert every["0000001"].points[1][1] == 47.0


def test_only_some_points_of_a_place_were_seen(tmp_path):
    """Cloudy at the first point: the second one is taken, and the table says which."""
    cloudy = stage(6, max_scene_cloud=0.25, order="clearest")

    report = collect(cloudy, tmp_path / "a.zarr")

    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        reasons = ledger.reasons("skipped")
    archive = ssl4eo.open_archive(tmp_path / "a.zarr")
    taken = {archive.sample(i).location.id: archive.sample(i) for i in range(len(archive))}
    assert report.totals.counts["done"] == len(taken)
    assert {s.labels["attempt"] for s in taken.values()} <= {0, 1}
    for name, sample in taken.items():
        assert sample.location.lat == places(6)[name].points[sample.labels["attempt"]][1]
    assert all("season" in reason for reason in reasons)


def test_what_failed_keeps_the_archive_open_until_it_is_mended_or_given_up(tmp_path):
    """Scenes that vanished: the next run tries those places only, and closes the archive with them."""
    target = tmp_path / "a.zarr"
    service = Faulty(vanished=frozenset({"10.50"}))

    first = collect(stage(6, service=service), target)

    assert (first.is_finished, target.exists(), has_begun(target)) == (False, False, True)
    assert statuses(target) == {f"{i:07d}": "failed" if i == 2 else "done" for i in range(6)}
    mended = Faulty()
    second = collect(stage(6, service=mended), target)
    assert second.is_finished
    assert set(mended.asked) == {"10.50"}
    assert set(statuses(target).values()) == {"done"}
    assert [row["tries"] for row in rows(target, "done")] == [1, 1, 2, 1, 1, 1]
    assert len(ssl4eo.open_archive(target)) == 6


def rows(target: Path, status: str) -> list[dict]:
    with Ledger.open(ledger_path(target)) as ledger:
        return ledger.rows(status)


def test_an_archive_can_be_closed_without_what_failed(tmp_path):
    """The reason stands in the archive, too."""
    target = tmp_path / "a.zarr"

    report = collect(stage(3, service=Faulty(vanished=frozenset({"10.00"}))), target, finish=True)

    assert report.is_finished
    assert len(ssl4eo.open_archive(target)) == 2
    (line,) = (json.loads(text) for text in (target / "skipped.jsonl").read_text().splitlines())
    assert line["location"] == "0000000"
    assert "is gone" in line["reason"]


def test_nothing_at_all_is_an_error_and_leaves_no_archive(tmp_path):
    """With the first reasons."""
    with pytest.raises(DataMissing, match=r"none of 2 places could be stored .*no S1GRD"):
        collect(stage(2, service=Faulty(empty=frozenset({"10.00", "10.25"}))), tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_a_service_that_stays_away_is_waited_for(tmp_path, undisturbed, monkeypatch, caplog):
    """Three refusals in a row: nothing is skipped for them; without patience the run ends and can be gone on with."""
    monkeypatch.setattr(fetching, "FIRST_PAUSE_S", 0.001)
    target = tmp_path / "a.zarr"
    patient = Faulty(refusals={"10.75": 3})

    collect(stage(9, service=patient), target, threads=2, first_pause_s=0.001)

    assert content(target) == undisturbed
    assert "trying again in" in caplog.text
    with pytest.raises(ServiceFailed, match="503"):
        collect(stage(9, service=Faulty(refusals={"10.75": 99})), tmp_path / "b.zarr", patience_s=0)
    collect(stage(9), tmp_path / "b.zarr")
    assert content(tmp_path / "b.zarr") == undisturbed


def test_a_place_that_never_answers_fails_alone(tmp_path):
    """Its reads time out, everything else is answered: it fails with its reason, the others are stored, none waits."""
    target = tmp_path / "a.zarr"

    class Stuck(Faulty):
        def read(self, scenes, product, grid):
            if scenes[0].handle["key"] == "10.25":
                raise ServiceFailed("a read timed out", expected="an answer", kind="passing")
            return super().read(scenes, product, grid)

    report = collect(stage(3, service=Stuck()), target, threads=1, first_pause_s=0.0)

    assert not report.is_finished
    assert statuses(target) == {"0000000": "done", "0000001": "failed", "0000002": "done"}
    (row,) = rows(target, "failed")
    assert "a read timed out, and so 6 times while the service answered" in row["reason"]
    assert collect(stage(3), target).is_finished
    assert set(statuses(target).values()) == {"done"}


def test_other_options_do_not_go_on_with_what_was_begun(tmp_path):
    """Another cloud limit would make another archive."""
    target = tmp_path / "a.zarr"
    collect(stage(3, service=Faulty(vanished=frozenset({"10.00"}))), target)

    with pytest.raises(TargetExists, match=r"choice was .*max_scene_cloud=1.0.* and is now .*max_scene_cloud=0.1"):
        collect(stage(3, max_scene_cloud=0.1), target)
    with pytest.raises(TargetExists, match=r"another collection: places was 3 \(.*\) and is now 4"):
        collect(stage(4), target)


def test_settings_of_a_service_are_options_too(tmp_path):
    """The +1000 DN kept in some places and taken away in others would be one archive of two kinds."""
    target = tmp_path / "a.zarr"
    collect(stage(3, service=Faulty(vanished=frozenset({"10.00"}))), target)

    class Keeping(Faulty):
        settings = "offset keep"

    with pytest.raises(TargetExists, match=r"service was synthetic planet, seed 0 and is now .*\(offset keep\)"):
        collect(stage(3, service=Keeping()), target)
    assert StacService("cdse", offset="keep").settings != StacService("cdse").settings


def test_the_same_command_after_the_end_says_that_it_is_finished(tmp_path):
    """A loop around it ends; other options do not pass for it."""
    target = tmp_path / "a.zarr"
    first = collect(stage(3), target)
    before = content(target)

    again = collect(stage(3, service=Faulty(refusals={"10.00": 9})), target)

    assert again == first
    assert content(target) == before
    with pytest.raises(TargetExists):
        collect(stage(2), target)


def test_places_that_are_skipped_count_as_settled(tmp_path):
    """The bar ends at all of them."""
    shown = []
    collect(stage(4, service=Faulty(empty=frozenset({"10.25"}))), tmp_path / "a.zarr",
            progress=lambda done, total: shown.append((done, total)))  # fmt: skip

    assert shown[-1] == (4, 4)


def test_all_instruments_take_a_season_from_the_same_year(tmp_path):
    """The year that is preferred, else the next one; index k of radar and optics is the same window."""
    windows = PlaceWindows(Calendar((2021, 2020), days=20))
    for limit, years in ((1.0, {2021}), (0.04, {2020, 2021})):
        source = stage(12, spares=3, max_scene_cloud=limit)
        source = replace(source, windows=windows, num_seasons=4)
        collect(source, tmp_path / f"{limit}.zarr")
        archive = ssl4eo.open_archive(tmp_path / f"{limit}.zarr")
        seen = set()
        for i in range(len(archive)):
            sample = archive.sample(i)
            order = [int(n) for n in str(sample.labels["season_order"]).split()]
            asked = windows(sample.location.id, sample.location.lat)
            for place, number in enumerate(order):
                ranges = {asked[number].range_of(row[place].time) for row in sample.images.values()}
                assert len(ranges) == 1
                seen |= {(2021, 2020)[ranges.pop()]}
        assert seen == years


def test_kills_lose_and_double_nothing(tmp_path, undisturbed):
    """SIGKILL again and again, at random moments, until it is done; what was fetched whole is not fetched again."""
    target, luck = tmp_path / "a.zarr", random.Random(0)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(DRIVER.parent), os.environ.get("PYTHONPATH", "")])}
    for _ in range(30):
        process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(target), "9"], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            if line.startswith("{"):
                break
            if number >= 1 + luck.randrange(3):
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.close()
        if process.wait() == 0:
            break
        if has_begun(target):
            assert set(statuses(target).values()) <= {"pending", "done"}

    assert content(target) == undisturbed
    assert list(statuses(target).values()) == ["done"] * 9
    assert not list(tmp_path.glob("*.partial"))


def test_a_second_collector_is_refused(tmp_path):
    """While the first one is at work."""
    target = tmp_path / "a.zarr"
    refused: list[BaseException] = []

    class Nosy(Faulty):
        def read(self, scenes, product, grid):
            try:
                collect(stage(3), target)
            except Busy as error:
                refused.append(error)
            return super().read(scenes, product, grid)

    collect(stage(3, service=Nosy()), target, threads=1)

    assert refused


def test_a_wish_to_stop_lets_places_under_way_end(tmp_path, undisturbed):
    """SIGTERM: RunStopped, an archive that can be gone on with, signals given back."""
    target = tmp_path / "a.zarr"
    before = signal.getsignal(signal.SIGTERM)

    class Stopping(Faulty):
        def read(self, scenes, product, grid):
            if not self.asked["sent"]:
                self.asked["sent"] += 1
                os.kill(os.getpid(), signal.SIGTERM)
            return super().read(scenes, product, grid)

    with pytest.raises(RunStopped, match="goes on"):
        collect(stage(9, service=Stopping()), target, threads=1)

    assert signal.getsignal(signal.SIGTERM) is before
    assert has_begun(target)
    collect(stage(9), target)
    assert content(target) == undisturbed


def test_notes_of_a_kill_between_note_and_segment_are_not_believed(tmp_path):
    """The ledger says done only of what is stored."""
    target = tmp_path / "a.zarr"
    collect(stage(3, service=Faulty(vanished=frozenset({"10.50"}))), target)
    notes = tmp_path / "a.zarr.partial" / NOTE_FOLDER
    (notes / "0000002.json").write_text(json.dumps(vars(Entry("0000002", "done"))))

    report = collect(stage(3, service=Faulty(vanished=frozenset({"10.50"}))), target)

    assert report.totals.counts["failed"] == 1
    assert statuses(target)["0000002"] == "failed"


def test_a_lost_ledger_is_made_anew_from_the_archive(tmp_path):
    """What is stored is known without it."""
    target = tmp_path / "a.zarr"
    collect(stage(3, service=Faulty(vanished=frozenset({"10.50"}))), target)
    for path in tmp_path.glob("*.sqlite*"):
        path.unlink()

    report = collect(stage(3), target)

    assert report.totals.counts == {"pending": 0, "done": 3, "skipped": 0, "failed": 0}


def test_seasons_never_share_a_scene(tmp_path):
    """Windows that overlap take different acquisitions."""
    source = stage(2, max_scene_cloud=1.0)
    object.__setattr__(source, "windows", TwoWindows(days=200))

    collect(source, tmp_path / "a.zarr")

    archive = ssl4eo.open_archive(tmp_path / "a.zarr")
    for index in range(len(archive)):
        for row in archive.sample(index).images.values():
            assert len({image.product for image in row}) == 2


def test_partial_and_cloudy_patches_are_refused_for_the_next_scene():
    """By what was read, not by what the scene says; a point is given up after as many tries as are allowed."""

    class Edge(Faulty):
        def read(self, scenes, product, grid):
            for scene in scenes:
                self.asked[scene.product] += 1
            patches = super().read(scenes, product, grid)
            first = self.asked["first"] == 0
            self.asked["first"] += 1
            return [
                replace(p, observed=0.5) if first else replace(p, cloud=0.9 if i else 0.0)
                for i, p in enumerate(patches)
            ]

    plain = stage(1, service=Edge(), modalities=("S2L2A",))
    masked = {"S2L2A": replace(plain.products["S2L2A"], mask="SCL", mask_kind="scl")}
    source = replace(plain, products=masked, choice=Choice(max_scene_cloud=1.0, max_patch_cloud=0.5))

    sample = source.read("0000000")

    assert len(sample.images["S2L2A"]) == 2
    assert sum(v for k, v in source.service.asked.items() if k.startswith("SYN")) > 2
    strict = stage(1, service=Edge(), modalities=("S2L2A",), tries=1)
    assert strict.read("0000000").labels["attempt"] == 1
    alone = replace(
        strict, service=Edge(), places={n: replace(p, points=p.points[:1]) for n, p in strict.places.items()}
    )
    with pytest.raises(NoImagery, match=r"season 0: SYN\S+ covers 50.0% of the patch"):
        alone.read("0000000")


def test_the_ledger_marks_places_to_be_tried_again(tmp_path):
    """By status or id; stored ones cannot be."""
    with Ledger.open(tmp_path / "l.sqlite", create=True) as ledger:
        ledger.add(["a", "b", "c"])
        ledger.note([Entry("a", "done"), Entry("b", "skipped", "no scene 12 here"), Entry("c", "failed", "gone")])
        assert ledger.retry(["skipped"]) == 1
        assert ledger.ids("pending") == ["b"]
        with pytest.raises(LookupError, match="no place that is not stored is called 'a'"):
            ledger.retry(ids=["a"])
        assert ledger.reasons("failed") == {"gone": 1}
    (tmp_path / "bad.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(SourceInvalid, match="cannot be used"), Ledger.open(tmp_path / "bad.sqlite"):
        pass
    with pytest.raises(DataMissing, match="no ledger"), Ledger.open(tmp_path / "none.sqlite"):
        pass


def test_a_fetcher_travels_without_the_wish_to_stop(tmp_path):
    """A worker in another process has its own."""
    import pickle

    noted = NotedSource(stage(2), tmp_path, 0.0)
    noted.stop.set()

    again = pickle.loads(pickle.dumps(noted))

    assert again.read("0000000").location.id == "0000000"
    with pytest.raises(RunStopped):
        noted.read("0000000")
    assert isinstance(again.stop, Stop)
    assert threading.active_count() >= 1


def test_choices_that_are_none_are_refused():
    """Shares outside 0 to 1, no try."""
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        Choice(max_scene_cloud=20)
    with pytest.raises(ValueError, match="one try"):
        Choice(tries=0)


@pytest.mark.parametrize("fail_at", [2, 9, 23, 40])
def test_a_full_disk_is_told_and_what_was_stored_is_kept(tmp_path, undisturbed, monkeypatch, fail_at):
    """ENOSPC from some write on: a clear error; with room again the run goes on to the same archive."""
    target, real, lock = tmp_path / "a.zarr", os.fsync, threading.Lock()
    calls = [0]

    def full(fd):
        with lock:
            calls[0] += 1
            if calls[0] >= fail_at:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteFailed, match=r"No space left.*free some space"):
        collect(stage(9), target, threads=2)
    monkeypatch.undo()

    assert not target.exists()
    collect(stage(9), target, threads=2)
    assert content(target) == undisturbed
    assert set(statuses(target).values()) == {"done"}


def test_a_ledger_that_cannot_grow_is_told(tmp_path):
    """SQLite's own "database or disk is full" is one of our errors, and what stood there stays."""
    with Ledger.open(tmp_path / "ledger.sqlite", create=True) as ledger:
        ledger.add(["a"])
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(WriteFailed, match="full"):
            ledger.add(f"{i:07d}" for i in range(10_000))
        assert ledger.ids("pending") == ["a"]


def test_a_wrong_clock_changes_nothing(tmp_path, undisturbed, monkeypatch):
    """Wall time that jumps back ten years and forth between calls: the same archive, seconds that are none below 0."""
    jumps, real = itertools.cycle((-10 * 365 * 86400, 10 * 365 * 86400)), time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))

    collect(stage(9), tmp_path / "a.zarr", threads=2)

    assert content(tmp_path / "a.zarr") == undisturbed
    assert all(0 <= row["seconds"] < 600 for row in rows(tmp_path / "a.zarr", "done"))


@pytest.mark.parametrize("kind", ["denied", "gone", "refused"])
def test_what_waiting_does_not_mend_ends_the_run(tmp_path, undisturbed, kind):
    """At the first answer; what was stored is kept, and the run goes on when it is mended."""
    target = tmp_path / "a.zarr"

    class Refusing(Faulty):
        def search(self, location, ranges, product):
            if location.lon > 11:
                raise ServiceFailed("status 4xx", expected="an answer", kind=kind)
            return super().search(location, ranges, product)

    with pytest.raises(ServiceFailed, match="4xx"):
        collect(stage(9, service=Refusing()), target, threads=1)

    assert set(statuses(target).values()) == {"done", "pending"}
    collect(stage(9), target)
    assert content(target) == undisturbed


def test_the_facts_are_those_of_the_point_that_was_taken(tmp_path):
    """The first point was never seen: the second one's city stands in the table, and its place."""
    place = Place("a", ((10.0, 48.0), (11.0, 47.0)), {"kind": "k"}, ({"city": "first"}, {"city": "second"}))
    source = replace(stage(1, service=Faulty(empty=frozenset({"10.00"}))), places={"a": place})

    collect(source, tmp_path / "a.zarr")

    sample = ssl4eo.open_archive(tmp_path / "a.zarr").sample(0)
    assert (sample.location.lon, sample.location.lat) == (11.0, 47.0)
    assert (sample.labels["kind"], sample.labels["city"], sample.labels["attempt"]) == ("k", "second", 1)


def test_sizes_that_leave_no_whole_pixels_are_refused_before_anything_is_asked():
    """25 px of 10 m are no whole number of 60 m."""
    with pytest.raises(ConfigInvalid, match="multiple of 60 m"):
        stage(1, size=25)


def test_a_ledger_of_another_collection_is_not_believed(tmp_path):
    """Its archive was removed: its failed places would keep the new one open. Options and versions are kept."""
    target = tmp_path / "a.zarr"
    collect(stage(6, service=Faulty(vanished=frozenset({"11.25"}))), target)
    shutil.rmtree(tmp_path / "a.zarr.partial")

    report = collect(stage(3), target)

    assert report.is_finished
    assert report.totals.counts == {"pending": 0, "done": 3, "skipped": 0, "failed": 0}
    with Ledger.open(ledger_path(target)) as ledger:
        facts = ledger.facts()
    assert facts["choice"].startswith("Choice(")
    assert "torch" in json.loads(facts["environment"])
