# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_records import config_json, full_run, knn_row, score_row, step_row, write_features, write_run

import ssl4eo
from ssl4eo.errors import ConfigInvalid, LocationMissing, SourceInvalid, TargetExists
from ssl4eo.report import write
from ssl4eo.report.write import check_request, write_report
from ssl4eo.sample import Image, Location, Provenance
from ssl4eo.sensors import modality


class _Page(HTMLParser):
    """Every address, tag and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        self.alts += [value or "" for name, value in attrs if tag == "img" and name == "alt"]

    def handle_data(self, data):
        self.words += data


class _TinyArchive:
    """What the report asks of an archive, in memory."""

    modalities = ("S1GRD", "S2L2A")
    num_seasons = 2
    ids = ("a", "b")

    def __init__(self, *, synthetic):
        self.provenance = Provenance("tiny", synthetic=synthetic, licence="none")

    def location(self, name):
        return Location(name)

    def read(self, name, *, location, season):
        pixels = {
            r: np.full((len(b), 240 // r, 240 // r), 500 * (season + 1), _dtype(name))
            for r, b in modality(name).groups.items()
        }
        if location == "b":  # only here the last band, near infrared, varies over the ground
            pixels[10][-1] += np.arange(0, 2400, 100).astype(_dtype(name))
        return Image(name, pixels)


def _dtype(name):
    return np.dtype(modality(name).dtype)


@pytest.fixture
def archive(monkeypatch, tmp_path_factory):
    """Stand a tiny archive in for every path."""

    def use(*, synthetic=True):
        monkeypatch.setitem(ssl4eo.__dict__, "open_archive", lambda path: _TinyArchive(synthetic=synthetic))
        path = tmp_path_factory.mktemp("archive") / "tiny.zarr"
        path.mkdir()
        return path

    return use


def _scored_run(path):
    """Write a run of two scores, of which a report has one small figure."""
    return write_run(path, scores=[score_row(0.5), score_row(0.6, pretrained=True)])


def _snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The folder of a report of all records and a picture of the data, written once."""
    folder = tmp_path_factory.mktemp("full")
    tiny = folder / "tiny.zarr"
    tiny.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ssl4eo.__dict__, "open_archive", lambda path: _TinyArchive(synthetic=True))
        page = write_report([full_run(folder / "run")], folder / "out", archive=tiny)
    assert page == folder / "out/report.html"
    return folder / "out"


def test_a_full_run_gives_one_page_that_needs_nothing_else(full):
    """No script, no address outside the file, an alternative text for every picture."""
    html = _Page(full / "report.html")

    assert len(html.alts) == 4
    assert all(html.alts)
    assert all(re.match("data:image/(png|webp);base64,", address) for address in html.addresses)
    assert "script" not in html.tags
    assert "link" not in html.tags
    assert not re.search(r"https?://|@import|url\(", (full / "report.html").read_text(encoding="utf-8"))


def test_both_pages_say_the_same_numbers(full):
    """55.0 untrained, 80.0 pre-trained, worked by hand; spreads 7.1 and 14.1."""
    words, document = _Page(full / "report.html").words, (full / "report.md").read_text(encoding="utf-8")

    for text in ("55.0 \u00b1 7.1", "80.0 \u00b1 14.1", "+25.0", "moco_v2.resnet18.s2l1c", "features shrink"):
        assert text in words
        assert text in document.replace("\\_", "_")
    assert "figures/curves-run.png" in document
    assert "ssl4eo report" in document


def test_results_are_kept_as_data(full):
    """results.json holds every value behind the table, and lists what was written."""
    results = json.loads((full / "results.json").read_text(encoding="utf-8"))

    (row,) = results["table"]
    assert row["untrained"]["values"] == [0.5, 0.6]
    assert row["difference_points"] == pytest.approx(25.0)
    assert results["synthetic"] is True
    assert set(results["files"]) == set(_snapshot(full))


def test_synthetic_is_said_wherever_something_synthetic_is_shown(full):
    """Title, headline, table row, record and every caption; nowhere for real data."""
    page = (full / "report.html").read_text(encoding="utf-8")

    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert len(captions) == 4
    assert all("Synthetic data." in caption for caption in captions)
    assert 'class="badge">Synthetic data' in page
    assert "on the test part of scenes (synthetic data)" in page
    assert page.count('class="tag">synthetic') == 1
    assert "synthetic: no satellite saw these pixels" in page


def test_real_data_is_not_called_synthetic(tmp_path, archive):
    """The word must mean something."""
    run = write_run(
        tmp_path / "run",
        config=config_json(synthetic=False),
        log=[step_row(0), knn_row(0, 0.5)],
        scores=[score_row(0.5, synthetic=False), score_row(0.6, pretrained=True, synthetic=False)],
    )

    page = write_report([run], tmp_path / "out", archive=archive(synthetic=False)).read_text(encoding="utf-8")

    assert "not synthetic" in page
    assert "ynthetic" not in page.replace("not synthetic", "")
    assert "ynthetic" not in (tmp_path / "out/report.md").read_text(encoding="utf-8").replace("not synthetic", "")


@pytest.mark.parametrize("trained", [True, False])
def test_training_data_and_scores_are_each_called_what_they_are(tmp_path, trained):
    """Curves go by what was trained on, scores by their task, and the head says which is which."""
    scores = [score_row(0.5 + p / 10, pretrained=bool(p), synthetic=not trained, split_sha256="x") for p in (0, 1)]
    log = [step_row(0), step_row(1), knn_row(0, 0.5)]
    run = write_run(tmp_path / "run", config=config_json(synthetic=trained), log=log, scores=scores)

    page = write_report([run], tmp_path / "out").read_text(encoding="utf-8")

    curves, task = (next(c for c in re.findall(r"<figcaption>(.*?)</figcaption>", page) if word in c)
                    for word in ("recorded steps", "split blocks"))  # fmt: skip
    assert ("Synthetic data." in curves, "Synthetic data." in task) == (trained, not trained)
    drawn = (tmp_path / "out/figures/curves-run.svg").read_text(encoding="utf-8")
    assert ("synthetic data" in drawn) == trained
    kinds = ("the training data", "the scores") if trained else ("the scores", "the training data")
    head = "Synthetic in part: no satellite saw the pixels behind {}. Not synthetic: {}".format(*kinds)
    assert f'class="badge">{head}<' in page
    assert f"**{head}.**" in (tmp_path / "out/report.md").read_text(encoding="utf-8")
    results = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert (results["synthetic"], results["runs"][0]["synthetic"], results["origin"]) == (True, trained, head)


def test_the_head_names_what_is_synthetic_among_several(tmp_path):
    """Of two runs and two tasks, one each."""
    runs = [
        write_run(tmp_path / name, config=config_json(synthetic=name == "a"), scores=[score_row(0.5, task=task,
                  synthetic=task == "scenes")]) for name, task in (("a", "scenes"), ("b", "eurosat"))
    ]  # fmt: skip

    page = write_report(runs, tmp_path / "out").read_text(encoding="utf-8")

    assert (
        "Synthetic in part: no satellite saw the pixels behind the training data of a, the scores on scenes. "
        "Not synthetic: the training data of b, the scores on eurosat<" in page
    )


def test_a_synthetic_archive_alone_makes_the_report_synthetic(tmp_path, archive):
    """Real scores beside a synthetic picture: the badge is there."""
    run = write_run(tmp_path / "run", scores=[score_row(0.5, synthetic=False)])

    write_report([run], tmp_path / "out", archive=archive())

    assert json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["synthetic"] is True


def test_missing_parts_are_named(tmp_path):
    """A run that has only begun still gives a page, which says what is not there."""
    page = write_report([write_run(tmp_path / "run", config=config_json())], tmp_path / "out")

    words, document = _Page(page).words, (tmp_path / "out/report.md").read_text(encoding="utf-8")

    for text in (
        "No downstream scores are recorded yet",
        "Run run keeps no scores.jsonl, and no other run",
        "Run run has no log.jsonl: no curves",
        "No picture of the data",
        "No projection of features",
    ):
        assert text in words
        assert text in document
    assert not (tmp_path / "out/figures").exists()


def test_a_run_scored_in_another_folder_misses_nothing(tmp_path):
    """Pre-training and evaluation in two folders are one story."""
    run = write_run(tmp_path / "run", config=config_json(), log=[step_row(0)])
    (run / "backbone.safetensors").touch()
    scores = write_run(
        tmp_path / "scores", scores=[score_row(0.5), score_row(0.6, pretrained=True, checkpoint=str(run))]
    )

    write_report([run, scores], tmp_path / "out")

    missing = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["missing"]
    assert not [line for line in missing if "jsonl" in line]


@pytest.mark.parametrize(
    ("pretrained", "words"),
    [(True, "gain of pre-training is not known"), (False, "Only untrained networks are scored")],
)
def test_one_side_alone_makes_no_claim(tmp_path, pretrained, words):
    """Without both sides there is no difference, and the cell is a dash."""
    run = write_run(tmp_path / "run", scores=[score_row(0.5, pretrained=pretrained)])

    page = write_report([run], tmp_path / "out").read_text(encoding="utf-8")

    assert words in page
    assert "\u2013<small>not scored</small>" in page


def test_an_absent_features_file_is_named(tmp_path):
    """The score stays, the picture goes, the reader is told; what the other network kept is drawn."""
    scores = [score_row(0.5, features="before.npz"), score_row(0.7, pretrained=True, features="after.npz")]
    run = write_run(tmp_path / "run", scores=scores)
    write_features(run / "before.npz")

    page = write_report([run], tmp_path / "out")

    words = _Page(page).words
    assert "after.npz is named in scores.jsonl but absent" in words
    assert "before.npz is named" not in words
    assert "70.0" in words
    assert (tmp_path / "out/figures/projection.png").is_file()


def test_markup_in_names_is_shown_as_it_is(tmp_path):
    """Names from records never become tags, and never break the table."""
    evil = "<script>alert(1)</script>|<img src=https://example.org/x.png>"
    config = config_json(recipe=evil)
    run = write_run(
        tmp_path / "run",
        config={**config, "data": {**config["data"], "title": evil}},
        log=[step_row(0), knn_row(0, 0.5, evil), {"kind": "alarm", "step": 0, "epoch": 0, "message": evil}],
        scores=[score_row(0.5, task=evil), score_row(0.6, task=evil, pretrained=True, backbone="resnet18")],
    )

    page = write_report([run], tmp_path / "out", title=evil)

    html, document = _Page(page), (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "script" not in html.tags
    assert all(re.match("data:image/(png|webp);base64,", address) for address in html.addresses)
    assert evil in html.words
    assert "<script>" not in document.split("```")[0].replace("\\<script\\>", "")
    (row,) = [line for line in document.splitlines() if line.startswith("|") and "k-NN" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 9


def test_an_earlier_report_is_replaced_and_foreign_files_stay(tmp_path):
    """Figures that the new report lacks go; what others put there is not touched."""
    run, out = full_run(tmp_path / "run", features=False), tmp_path / "out"
    write_report([run], out)
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    (out / "figures/mine.png").write_bytes(b"mine")
    (run / "log.jsonl").unlink()

    write_report([run], out)

    assert not (out / "figures/curves-run.png").exists()
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (out / "figures/mine.png").read_bytes() == b"mine"
    assert not list(out.glob(".report.*"))


@pytest.mark.parametrize("step", ["render_html", "_write_synced"])
def test_a_failure_leaves_the_old_report_whole(tmp_path, monkeypatch, step):
    """Whether drawing or writing fails, the folder is byte for byte what it was."""
    run, out = _scored_run(tmp_path / "run"), tmp_path / "out"
    write_report([run], out)
    before = _snapshot(out)
    assert any(name.startswith("figures/") for name in before)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(write, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_report([run], out, title="another")

    assert _snapshot(out) == before


def test_a_malformed_record_leaves_the_old_report_whole(tmp_path):
    """Reading comes before writing."""
    run, out = _scored_run(tmp_path / "run"), tmp_path / "out"
    write_report([run], out)
    before = _snapshot(out)
    assert any(name.startswith("figures/") for name in before)
    (run / "scores.jsonl").write_text("{}\n{}\n", encoding="utf-8")

    with pytest.raises(SourceInvalid, match=r"line 1 of .*scores\.jsonl"):
        write_report([run], out)

    assert _snapshot(out) == before


@pytest.mark.parametrize("name", ["report.html", "report.md", "results.json"])
def test_a_foreign_file_under_our_name_is_not_overwritten(tmp_path, name):
    """A folder is ours only if its results.json says so."""
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"kind": "something else"}', encoding="utf-8")

    with pytest.raises(TargetExists, match=re.escape(name)):
        write_report([write_run(tmp_path / "run", config=config_json())], out)

    assert list(_snapshot(out)) == [name]


@pytest.mark.parametrize("place", ["pictures", "pictures/a.png", "nowhere"])
def test_a_folder_of_others_is_no_place_for_a_report(tmp_path, place):
    """A folder of pictures, a file, a link that leads nowhere: refused before anything is read or written."""
    run, folder = write_run(tmp_path / "run", config=config_json()), tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")

    with pytest.raises(TargetExists, match=r"holds .*; expected nothing there, an earlier report, or one of the runs"):
        check_request([run], tmp_path / place, None)
    with pytest.raises(TargetExists):
        write_report([run], tmp_path / place)

    assert _snapshot(folder) == {"a.png": b"mine"}


def test_a_run_may_hold_its_own_report_and_what_a_kill_left_is_no_hindrance(tmp_path):
    """Named by whatever path; a run that is not shown is a folder of others."""
    run, other = (write_run(tmp_path / name, config=config_json()) for name in ("run", "other"))
    (tmp_path / "killed/.report.x.partial").mkdir(parents=True)

    for _ in range(2):
        assert write_report([run], tmp_path / "other/../run").is_file()
    assert write_report([run], tmp_path / "killed").is_file()
    with pytest.raises(TargetExists, match=r"holds config\.json"):
        write_report([run], other)


def test_a_results_file_cannot_name_files_outside_the_folder(tmp_path):
    """Only paths under the folder are ever removed."""
    victim = tmp_path / "victim.txt"
    victim.write_text("keep", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    listed = ["results.json", "../victim.txt", str(victim)]
    (out / "results.json").write_text(json.dumps({"kind": "ssl4eo report", "files": listed}), encoding="utf-8")

    write_report([write_run(tmp_path / "run", config=config_json())], out)

    assert victim.read_text(encoding="utf-8") == "keep"


def test_a_report_of_no_runs_is_refused(tmp_path):
    """An empty list is a mistake of the caller."""
    with pytest.raises(ConfigInvalid, match="one run folder at least"):
        write_report([], tmp_path / "out")


def test_the_numbers_at_the_top_say_whose_they_are(tmp_path):
    """Of several runs without scores the first one's are shown; a single run needs no name there."""
    runs = [write_run(tmp_path / name, log=[step_row(0), step_row(20, 0.25)]) for name in ("first", "second")]

    several = write_report(runs, tmp_path / "out").read_text(encoding="utf-8")
    one = write_report(runs[:1], tmp_path / "alone").read_text(encoding="utf-8")

    for label in ("training steps", "last recorded loss", "images per second"):
        assert f"{label}, run first" in several
        assert f"{label}, run" not in one


def test_a_location_that_the_archive_lacks_is_refused(tmp_path, archive):
    """Nothing is written then."""
    with pytest.raises(LocationMissing, match="no location 'z'"):
        write_report(
            [write_run(tmp_path / "run", config=config_json())], tmp_path / "out", archive=archive(), location="z"
        )

    assert not (tmp_path / "out").exists()


def test_without_a_location_the_varied_one_is_shown(tmp_path, archive):
    """Location b has a gradient, location a is flat; the caption says how it was chosen."""
    page = write_report([write_run(tmp_path / "run", config=config_json())], tmp_path / "out", archive=archive())

    assert "Location b, the one with the most varied vegetation" in _Page(page).words


def test_runs_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    """Two folders called run give two figures, and each figure and record says whose it is."""
    runs = [write_run(tmp_path / parent / "run", config=config_json(), log=[step_row(0)]) for parent in ("a", "b")]

    page = write_report(runs, tmp_path / "out").read_text(encoding="utf-8")

    assert {p.name for p in (tmp_path / "out/figures").glob("*.png")} == {"curves-a-run.png", "curves-b-run.png"}
    for name in ("a/run", "b/run"):
        assert f"<h3>{name}</h3>" in page
        assert f"Run {name}, 1 recorded steps" in page
