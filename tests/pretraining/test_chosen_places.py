# SPDX-License-Identifier: Apache-2.0
"""Runs on some of the places of an archive: those that are listed, and those that can be read."""

from __future__ import annotations

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image as PillowImage

from ssl4eo.archive import codecs
from ssl4eo.archive.reader import open_archive
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.errors import RunStopped
from ssl4eo.insight.seen import items_of_step, seen_views
from ssl4eo.insight.source import open_source
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.run_folder import IDS
from ssl4eo.pretraining.stored_config import stored_config
from ssl4eo.report.content import _record as record_of
from ssl4eo.report.records import read_run
from ssl4eo.training.journal import DAMAGED

COUNT, BROKEN = 40, 1
"""A look at 16 of 40 images passes over number 1."""


@pytest.fixture
def planet(tmp_path):
    """Pack small places."""
    path = tmp_path / "a.zarr"
    pack(SyntheticPlanet(COUNT, size=24, num_seasons=2, modalities=("S1GRD",)), path)
    return path


def pretrain(planet, out, *options):
    """Run the command with a network and steps as small as can be."""
    return main(
        [
            *("pretrain", "--recipe", "moco_v2.resnet18.s1grd.tiny", "--backbone", "vit_w48d2h3_8"),
            *("--data", str(planet), "--out", str(out), "--split", "none", "--quiet"),
            *("--views.view.size", "16", "--method.queue_size", "16", "--method.dim", "8"),
            *("--engine.batch_size", "8", "--engine.epochs", "2", "--engine.log_every", "1", *options),
        ]
    )


def flip(planet, index):
    """Damage the images of a place."""
    (array,) = open_archive(planet)._layout.bands["S1GRD"].values()
    for season in range(2):
        number, slot = array.place(index, season)
        fd = os.open(planet / array.file(number), os.O_RDWR)
        offset = int(codecs.read_index(fd, array.slots)[slot][0]) + 30
        os.pwrite(fd, bytes([os.pread(fd, 1, offset)[0] ^ 1]), offset)
        os.close(fd)


def rows(path):
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_run_keeps_its_list_and_goes_on_with_it_alone(planet, tmp_path, capsys):
    """A report finds the images again by the list that the run wrote."""
    listed, run = tmp_path / "some.txt", tmp_path / "run"
    listed.write_text("".join(f"{index}\n" for index in range(0, COUNT, 2)))

    assert pretrain(planet, run, "--ids", str(listed)) == 0

    assert (run / IDS).read_text().split() == [f"{index:07}" for index in range(0, COUNT, 2)]
    stored = json.loads((run / "config.json").read_text())
    assert stored["data"]["num_items"] == COUNT // 2
    assert stored["part_of"] == COUNT
    assert ("items", f"{COUNT // 2} of {COUNT}, listed in ids.txt") in record_of(read_run(run)).lines
    opened = open_source(planet, stored_config(stored["config"]), stored["data"], run / IDS)
    assert opened.is_same
    assert not open_source(planet, stored_config(stored["config"]), stored["data"], tmp_path / "none").is_same
    capsys.readouterr()
    assert pretrain(planet, run, "--resume") == 1
    told = capsys.readouterr().err
    assert "another one: it is of 20 items, these are 40; expected" in told
    assert f"--ids {run / IDS} --split none names the same items" in told
    assert "identity" not in told
    assert pretrain(planet, run, "--ids", str(run / IDS), "--resume") == 0


@pytest.mark.parametrize(("kept", "given"), [(None, None), (range(20), None), (range(20), range(1, 21))])
def test_other_items_are_told_in_words(planet, tmp_path, capsys, kept, given):
    """Two hashes said nothing; the list of the run is named only where these data hold its items."""
    run, lists = tmp_path / "run", {}
    for name, ids in {"kept": kept, "given": given}.items():
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"{index}\n" for index in ids or ()))
        lists[name] = [] if ids is None else ["--ids", str(path)]
    assert pretrain(planet, run, *lists["kept"]) == 0
    if given is None:
        shutil.rmtree(planet)
        pack(SyntheticPlanet(COUNT, size=24, num_seasons=2, modalities=("S1GRD",), seed=5), planet)
    capsys.readouterr()

    assert pretrain(planet, run, *lists["given"], "--resume") == 1

    told = capsys.readouterr().err
    numbers = "it is of 20 items, these are 40" if kept and not given else "it is of other items"
    assert f"another one: {numbers}; expected" in told
    assert "identity" not in told
    assert ("names the same items" in told) == bool(given)
    assert ("give --ids and --split as they were given" in told) == (not given)


def test_other_options_are_told_as_ever_beside_other_items(planet, tmp_path, capsys):
    """With the way on that holds for all of them."""
    (tmp_path / "some.txt").write_text("".join(f"{index}\n" for index in range(20)))
    assert pretrain(planet, tmp_path / "run", "--ids", str(tmp_path / "some.txt")) == 0
    capsys.readouterr()

    assert pretrain(planet, tmp_path / "run", "--resume", "--engine.seed", "7") == 1

    told = capsys.readouterr().err
    assert "it is of 20 items, these are 40; engine.seed 0, now 7; expected" in told
    assert "give the same options to continue it" in told


def test_run_on_everything_keeps_no_list(planet, tmp_path):
    """The archive is the list; one of a run that failed at once does not stay either."""
    run = tmp_path / "run"
    run.mkdir()
    (run / IDS).write_text("0000001\n")

    assert pretrain(planet, run) == 0

    assert not (run / IDS).exists()


def test_damage_ends_a_run_that_goes_on_without_what_is_damaged(planet, tmp_path, capsys):
    """The option that does so is named, and touches nothing else; every epoch tells what it did."""
    flip(planet, BROKEN)
    run = tmp_path / "run"

    assert pretrain(planet, run) == 1

    told = capsys.readouterr().err
    assert f"S1GRD of location {BROKEN:07}, season" in told
    assert "--resume --engine.damaged replace goes on" in told
    assert pretrain(planet, run, "--resume", "--engine.damaged", "replace") == 0
    err = capsys.readouterr().err
    assert "ALARM: damaged images so far, each counted once, that others were taken for: 1 " in err
    assert "taken for: 2 " in err
    assert {row["location"] for row in rows(run / DAMAGED)} == {f"{BROKEN:07}"}
    alarms = [row["message"] for row in rows(run / "log.jsonl") if row["kind"] == "alarm"]
    assert sum("damaged images" in message for message in alarms) == 2


def test_what_is_looked_at_first_may_be_damaged_where_it_is_replaced(planet, tmp_path, capsys):
    """Otherwise a run would be refused that could go on."""
    flip(planet, 0)
    assert pretrain(planet, tmp_path / "one") == 1
    assert "location 0000000" in capsys.readouterr().err

    assert pretrain(planet, tmp_path / "two", "--engine.damaged", "replace") == 0


def test_another_word_for_it_is_refused(planet, tmp_path, capsys):
    """On the command line as in Python."""
    with pytest.raises(SystemExit):
        pretrain(planet, tmp_path / "run", "--engine.damaged", "skip")
    assert "expected one of 'stop', 'replace'; got skip" in capsys.readouterr().err


def told_damage(run):
    """List the numbers that alarms of damaged images tell."""
    alarms = [row["message"] for row in rows(run / "log.jsonl") if row["kind"] == "alarm"]
    return [int(re.search(r"taken for: (\d+) ", alarm)[1]) for alarm in alarms if "damaged images" in alarm]


def test_alarms_count_images_and_not_how_often_they_were_met(planet, tmp_path, capsys):
    """One is met in each epoch; steps that are done again after an interruption meet those of before."""
    flip(planet, BROKEN)
    run = tmp_path / "run"
    options = ("--engine.damaged", "replace", "--engine.epochs", "4", "--engine.save_every", "1")

    assert pretrain(planet, run, *options) == 0

    images = {(row["location"], row["season"]) for row in rows(run / DAMAGED)}
    assert len(rows(run / DAMAGED)) >= 4
    assert told_damage(run) == list(range(1, len(images) + 1))
    (run / "backbone.safetensors").unlink()
    last = max((run / "checkpoints").glob("step-*.pt"))
    last.unlink()
    capsys.readouterr()
    assert pretrain(planet, run, *options, "--resume") == 0
    assert "damaged images" not in capsys.readouterr().err
    assert len(rows(run / DAMAGED)) >= 5


@pytest.mark.parametrize(("devices", "told"), [("1", "enough was seen"), ("2", "expected a file that every process")])
def test_a_pipe_is_read_by_one_process_alone(planet, tmp_path, capsys, monkeypatch, devices, told):
    """As the shell gives `--ids <(command)`: others of a run would find it empty, or not there."""

    def stop(*arguments, **options):
        raise RunStopped("enough was seen")

    monkeypatch.setattr("ssl4eo.pretraining.loop.pretrain", stop)
    reading, writing = os.pipe()
    os.write(writing, b"3\n17\n")
    os.close(writing)

    pretrain(planet, tmp_path / "run", "--ids", f"/dev/fd/{reading}", "--engine.devices", devices)

    assert told in capsys.readouterr().err
    assert (b"" if devices == "1" else b"3\n17\n") == os.read(reading, 100)
    os.close(reading)


@pytest.mark.parametrize("limit", [2 << 30, 10])
def test_runs_on_pictures_go_on_without_those_that_cannot_be_decoded(tmp_path, capsys, monkeypatch, limit):
    """In memory or read one by one; the file of damage names them as it does images of an archive."""
    monkeypatch.setattr("ssl4eo.loading.folder.IN_MEMORY_BYTES", limit)
    root, rng = tmp_path / "pictures", np.random.default_rng(0)
    for number in range(40):
        path = root / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(rng.integers(1, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    (root / "a" / "00.png").write_bytes(b"x")
    (root / "b" / "21.png").write_bytes(b"x")
    recipe = ("--recipe", "moco_v2.resnet18.s2rgb.tiny")

    assert pretrain(root, tmp_path / "run", *recipe) == 1
    assert "2 of 40 pictures" in capsys.readouterr().err
    assert pretrain(root, tmp_path / "run", *recipe, "--engine.damaged", "replace") == 0

    noted = {
        tuple(row[name] for name in ("archive", "what", "location", "season"))
        for row in rows(tmp_path / "run" / DAMAGED)
    }
    assert noted == {(str(root), "picture", name, 0) for name in ("a/00.png", "b/21.png")}
    assert told_damage(tmp_path / "run")[-1] == 2


def test_report_shows_what_took_the_place_of_damaged_images(planet, tmp_path):
    """The views as the network saw them, and neighbours among what can be read."""
    for index in range(0, COUNT, 4):
        flip(planet, index)
    run = tmp_path / "run"
    assert pretrain(planet, run, "--engine.damaged", "replace") == 0
    config = stored_config(json.loads((run / "config.json").read_text())["config"])
    source = ArchivePixels(planet, "S1GRD")
    wanted = items_of_step(config, source, 0, 8)

    seen = seen_views(config, source, wanted)

    assert any(index % 4 == 0 for _, index in wanted)
    assert all(index % 4 for index in seen.items)
    assert seen.ids == tuple(source.id_of(index) for index in seen.items)
    assert main(["report", str(run), "--archive", str(planet), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert page.count("cannot be read from") == page.count("No picture of one location in all seasons") == 1
