# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo collect` from places to an archive, and `ssl4eo ledger`: results on stdout, exit statuses, refusals."""

from __future__ import annotations

import json

import pytest

import ssl4eo
from ssl4eo.cli import main
from ssl4eo.collecting.ledger import Ledger, ledger_path
from ssl4eo.collection.remote.synthetic import SyntheticService
from ssl4eo.commands.collect import UNFINISHED
from ssl4eo.errors import ServiceFailed, SourceInvalid

SMALL = ("--modalities", "S1GRD", "S2L2A", "--size", 24, "--max-cloud", 1.0, "--threads", 3)


@pytest.fixture
def places(tmp_path):
    """Five places of one point."""
    path = tmp_path / "places.csv"
    rows = [f"{i:07d},{10 + i / 4},48.0,c{i}" for i in range(5)]
    path.write_text("\n".join(["id,lon,lat,city", *rows]) + "\n")
    return path


def run(*arguments) -> int:
    try:
        return main([str(a) for a in arguments])
    except SystemExit as ended:  # by the parser
        return int(ended.code or 0)


def collected(places, target, *options) -> int:
    return run("collect", "--places", places, "--out", target, *SMALL, *options)


@pytest.fixture
def vanishing(monkeypatch):
    """Scenes east of 10.9 degrees are listed and not there, as long as the list is not empty."""
    gone = [True]
    read, search = SyntheticService.read, SyntheticService.search

    def search_and_mark(self, location, ranges, product):
        scenes = search(self, location, ranges, product)
        for scene in scenes:
            scene.handle["lon"] = location.lon
        return scenes

    def read_or_not(self, scenes, product, grid):
        return [
            SourceInvalid(f"{s.product} is gone", expected="it") if gone and s.handle["lon"] > 10.9 else p
            for s, p in zip(scenes, read(self, scenes, product, grid), strict=True)
        ]

    monkeypatch.setattr(SyntheticService, "search", search_and_mark)
    monkeypatch.setattr(SyntheticService, "read", read_or_not)
    return gone


def test_from_places_to_an_archive(places, tmp_path, capsys):
    """Five places of four seasons; JSON and nothing else on stdout; the ledger beside it says the same."""
    target = tmp_path / "a.zarr"

    assert collected(places, target, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["finished"], told["done"], told["failed"]) == (True, 5, 0)
    archive = ssl4eo.open_archive(target)
    assert [archive.sample(i).location.id for i in range(len(archive))] == [f"{i:07d}" for i in range(5)]
    assert len(archive.sample(0).images["S2L2A"]) == 4
    assert archive.sample(2).labels["city"] == "c2"
    assert run("ledger", target, "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == 5


def test_a_plan_fetches_nothing(places, tmp_path, capsys, monkeypatch):
    """Counts of images and bytes; no service is asked, no file is made."""
    monkeypatch.setattr(SyntheticService, "search", None)

    assert collected(places, tmp_path / "a.zarr", "--plan", "--json") == 0

    plan = json.loads(capsys.readouterr().out)
    assert (plan["places"], plan["seasons"]) == (5, 4)
    assert plan["images"] == {"S1GRD": 20, "S2L2A": 20}
    assert plan["requests"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["places.csv"]
    assert collected(places, tmp_path / "a.zarr", "--plan") == 0
    assert "5 places" in capsys.readouterr().out


def test_what_failed_leaves_the_archive_open_with_a_status_of_its_own(places, tmp_path, capsys, vanishing):
    """Status 3, the reason in the ledger; when it is mended the same command closes the archive."""
    target = tmp_path / "a.zarr"

    assert collected(places, target) == UNFINISHED
    assert "still open for 1 places" in capsys.readouterr().err.replace("\n", " ")
    assert not target.exists()
    assert run("ledger", target, "--show", "failed") == 0
    assert "is gone" in capsys.readouterr().out
    vanishing.clear()
    assert collected(places, target, "--resume") == 0
    assert len(ssl4eo.open_archive(target)) == 5


def test_an_archive_is_closed_on_request(places, tmp_path, vanishing):
    """`--finish` leaves out what failed."""
    assert collected(places, tmp_path / "a.zarr", "--finish") == 0

    assert len(ssl4eo.open_archive(tmp_path / "a.zarr")) == 4


def test_chosen_places_are_tried_again(places, tmp_path, capsys, vanishing):
    """By status or id; unknown ids are refused, and so is an archive that is closed."""
    target = tmp_path / "a.zarr"
    assert collected(places, target) == UNFINISHED

    assert run("ledger", target, "--retry", "failed") == 0
    with Ledger.open(ledger_path(target)) as ledger:
        assert ledger.ids("pending") == ["0000004"]
    assert run("ledger", target, "--retry", "4") == 0
    assert run("ledger", target, "--retry", "0000003") == 2
    assert "place that is not stored" in capsys.readouterr().err
    vanishing.clear()
    assert collected(places, target) == 0
    assert run("ledger", target, "--retry", "failed") == 2
    assert "is closed" in capsys.readouterr().err


def test_a_service_that_refuses_the_account_ends_the_run_at_once(places, tmp_path, capsys, monkeypatch):
    """No patience of hours for what waiting does not mend; nothing is skipped for it."""
    asked = []

    def refuse(self, location, ranges, product):
        asked.append(location)
        raise ServiceFailed("status 403", expected="an answer", kind="denied")

    monkeypatch.setattr(SyntheticService, "search", refuse)

    assert collected(places, tmp_path / "a.zarr", "--threads", 1) == 1

    assert "status 403" in capsys.readouterr().err
    assert len(asked) <= 2
    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        assert ledger.totals().counts["pending"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--source", "earthengin"), "synthetic, published, earth-search, earth-search-c1, planetary-computer, cdse"),
        (("--project", "p"), "source synthetic has no option project"),
        (("--source", "cdse", "--orbit", "ascending"), "source cdse has no option orbit"),
        (("--source", "cdse", "--modalities", "S1GRD"), "Earth Engine"),
        (("--source", "planetary-computer", "--modalities", "S2L1C"), "S2L1C"),
        (("--num-locations", "7"), "--num-locations with --places"),
        (("--dates", "2020-01-01"), "--dates"),
        (("--seasons", "dates"), "--dates"),
        (("--seasons", "dates", "--dates", "tomorrow"), "YYYY-MM-DD"),
        (("--seasons", "even", "--num-seasons", "2", "--period", "2020-01-01"), "first day"),
        (("--size", 25), "multiple of 60 m"),
        (("--modalities", "S2L2A", "S2L2A"), "each once"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_options_that_cannot_be_are_refused(places, tmp_path, capsys, options, message):
    """With what is expected; nothing is asked and nothing is made."""
    assert collected(places, tmp_path / "a.zarr", *options) == 2

    assert message in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["places.csv"]


def test_options_without_places_are_refused(tmp_path, capsys):
    """A plan of nothing, and a service without places."""
    assert run("collect", "--out", tmp_path / "a.zarr", "--plan") == 2
    assert "--plan without --places" in capsys.readouterr().err
    assert run("collect", "--out", tmp_path / "a.zarr", "--source", "cdse") == 2
    assert "no places for cdse" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--seasons", "calendar", "--years", 2020, 2019), 4),
        (("--seasons", "dates", "--dates", "2020-03-20", "2020-09-22", "--days", 20, "--years", 0, -1), 2),
        (("--seasons", "even", "--period", "2020-01-01", "2021-01-01", "--num-seasons", 3), 3),
        (("--seasons", "published", "--days", 10), 4),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_every_rule_of_seasons(places, tmp_path, capsys, options, count):
    """The archive has as many dates."""
    target = tmp_path / "a.zarr"

    assert run("collect", "--places", places, "--out", target, "--size", 24, "--modalities", "S1GRD", *options) == 0

    assert len(ssl4eo.open_archive(target).sample(0).images["S1GRD"]) == count


def test_a_catalog_of_one_s_own(places, tmp_path, capsys):
    """By its own name only."""
    path = tmp_path / "mine.yaml"
    path.write_text("like: earth-search\nname: mine\napi: http://127.0.0.1:9/v1\n")
    options = ("--modalities", "S2L2A", "--catalog", path, "--plan", "--json")

    assert collected(places, tmp_path / "a.zarr", "--source", "mine", *options) == 0
    assert json.loads(capsys.readouterr().out)["images"] == {"S2L2A": 20}
    assert collected(places, tmp_path / "a.zarr", "--source", "cdse", *options) == 2
    assert "file of catalog mine" in capsys.readouterr().err


def test_places_of_another_archive_are_left_out(places, tmp_path, capsys, vanishing):
    """What an archive was closed without comes into a second one."""
    assert collected(places, tmp_path / "a.zarr", "--finish") == 0
    vanishing.clear()

    assert collected(places, tmp_path / "b.zarr", "--not_in", tmp_path / "a.zarr") == 0

    assert ssl4eo.open_archive(tmp_path / "b.zarr").locations["id"].tolist() == ["0000004"]
    assert collected(places, tmp_path / "c.zarr", "--not_in", tmp_path / "a.zarr", tmp_path / "b.zarr") == 1
    assert "all 5 places are in" in capsys.readouterr().err


def test_looking_at_a_ledger_writes_nothing(places, tmp_path, capsys):
    """Nor does it take a file of others for a ledger."""
    target = tmp_path / "a.zarr"
    assert collected(places, target) == 0
    path = ledger_path(target)
    before = path.read_bytes()

    assert run("ledger", target) == 0
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.sqlite-*"))
    path.write_bytes(b"")
    assert run("ledger", target) == 1
    assert "expected a ledger of version 1" in capsys.readouterr().err
    assert path.read_bytes() == b""
    assert run("ledger", target, "--limit", "0") == 2
