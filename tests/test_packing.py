# SPDX-License-Identifier: Apache-2.0
"""Packing loses nothing, doubles nothing and says what it left out, however often it is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.collection.published import RawLayout
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid, TargetExists, UnknownName, WorkerLost
from ssl4eo.form import Form
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Image, Location, Provenance, Sample
from ssl4eo.sensors import modality, published_band

SHARED = Path(__file__).resolve().parents[2] / "shared"


RADAR = Provenance("radar", synthetic=True, licence="CC0-1.0")


@dataclass(frozen=True)
class Radar:
    """A source of tiny radar images, of which some cannot be read."""

    num_locations: int
    broken: frozenset[str] = frozenset()
    num_seasons: int = 2
    forms: tuple[Form, ...] = (Form.native("S1GRD"),)
    masks: Mapping[str, bool] = field(default_factory=dict)
    shape: tuple[int, int] = (6, 6)
    provenance: Provenance = RADAR

    def ids(self) -> Sequence[str]:
        """List the ids."""
        return [f"{i:07d}" for i in range(self.num_locations)]

    def read(self, location: str) -> Sample:
        """Make a sample whose pixels depend on its id."""
        if location in self.broken:
            raise SourceInvalid(f"location {location}: no file VV.tif", expected="one file a band", location=location)
        rng = np.random.default_rng(int(location))
        images = tuple(Image("S1GRD", {10: rng.normal(size=(2, 6, 6)).astype("f4")}) for _ in range(self.num_seasons))
        return Sample(Location(location), {"S1GRD": images})


def _tree(archive: Path) -> dict[str, bytes]:
    """All bytes of an archive but the time it was made at, which is in two files."""
    tree = {str(p.relative_to(archive)): p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    created = open_archive(archive).facts["created"].encode()
    tree["zarr.json"] = tree["zarr.json"].replace(created, b"")
    del tree["checksums.json"]
    return tree


def test_all_locations_are_stored_in_the_order_of_the_source(tmp_path: Path) -> None:
    """The report counts them; progress is told after each."""
    calls = []

    report = pack(Radar(70), tmp_path / "a.zarr", progress=lambda done, total: calls.append((done, total)))

    assert (report.num_stored, report.num_resumed, dict(report.skipped)) == (70, 0, {})
    assert open_archive(tmp_path / "a.zarr").ids == tuple(Radar(70).ids())
    assert calls == [(i, 70) for i in range(1, 71)]


def test_a_broken_location_is_left_out_and_noted(tmp_path: Path) -> None:
    """The reason is in the report and in the archive."""
    report = pack(Radar(5, broken=frozenset({"0000000", "0000003"})), tmp_path / "a.zarr")

    archive = open_archive(tmp_path / "a.zarr")
    assert archive.ids == ("0000001", "0000002", "0000004")
    assert list(report.skipped) == ["0000000", "0000003"]
    assert [row["location"] for row in archive.skipped] == ["0000000", "0000003"]
    assert "no file VV.tif" in archive.skipped[0]["reason"]


@pytest.mark.parametrize("broken", ["0000000", "0000003"])
def test_a_broken_location_stops_packing_where_that_is_asked_for(tmp_path: Path, broken: str) -> None:
    """With errors="raise" the error comes out and nothing gets the final name."""
    with pytest.raises(SourceInvalid, match=broken):
        pack(Radar(5, broken=frozenset({broken})), tmp_path / "a.zarr", errors="raise")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", [Radar(0), Radar(2, broken=frozenset({"0000000", "0000001"}))])
def test_no_location_at_all_is_an_error_and_leaves_nothing(tmp_path: Path, source: Radar) -> None:
    """An archive of nothing is not made; the first reasons are told."""
    with pytest.raises(DataMissing, match=f"none of {source.num_locations} locations"):
        pack(source, tmp_path / "a.zarr")

    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """A source that would fail is not even asked."""
    (tmp_path / "a.zarr").write_text("mine")

    with pytest.raises(TargetExists):
        pack(Radar(0), tmp_path / "a.zarr")

    assert (tmp_path / "a.zarr").read_text() == "mine"


def test_a_location_mended_after_an_interruption_is_stored(tmp_path: Path) -> None:
    """What was left out before is tried again when packing goes on."""

    class Interrupted(Radar):
        def read(self, location: str) -> Sample:
            if location == "0000080":
                raise KeyboardInterrupt
            return super().read(location)

    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(90, broken=frozenset({"0000005"})), tmp_path / "a.zarr")

    report = pack(Radar(90), tmp_path / "a.zarr")

    assert (report.num_stored, report.num_resumed, dict(report.skipped)) == (90, 63, {})
    assert sorted(open_archive(tmp_path / "a.zarr").ids) == list(Radar(90).ids())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_packing import Radar
from ssl4eo.packing.pack import pack

class Deadly(Radar):
    def read(self, location):
        if location == {location!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(location)

pack(Deadly(150), Path({target!r}))
"""


@pytest.mark.parametrize("number", [10, 64, 149])
def test_packing_goes_on_after_kill_9_to_the_same_bytes(tmp_path: Path, number: int) -> None:
    """A process killed at a read leaves no archive; the next run makes the one that was wanted."""
    target = tmp_path / "a.zarr"
    script = KILLED.format(tests=str(Path(__file__).parent), location=f"{number:07d}", target=str(target))

    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not target.exists()
    report = pack(Radar(150), target)
    assert (report.num_stored, report.num_resumed) == (150, number // 64 * 64)
    pack(Radar(150), tmp_path / "b.zarr")
    assert _tree(target) == _tree(tmp_path / "b.zarr")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]


KILLED_AT_EACH_STEP = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_packing import Radar
from ssl4eo.packing.pack import pack

def run(target, kill_at):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    steps = [0]
    for module, name in ((os, "fsync"), (os, "truncate"), (os, "mkdir"), (os, "unlink"), (os, "rename"), (os, "rmdir")):
        def step(*args, real=getattr(module, name), **keywords):
            steps[0] += 1
            if steps[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **keywords)
        setattr(module, name, step)
    pack(Radar(70), target)
    os._exit(0)

root, at = Path({root!r}), 1 - {stride}
while True:
    at += {stride}
    target = root / f"{{at}}.zarr"
    status = run(target, at)
    if os.waitstatus_to_exitcode(status) == 0:
        print(at)
        break
    if not target.exists():
        assert run(target, at) in (0, signal.SIGKILL)  # killed again at the same step
    if not target.exists():
        assert run(target, -1) == 0
"""


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 13])
def test_packing_goes_on_after_kill_9_at_each_step_of_writing(tmp_path: Path, stride: int) -> None:
    """Killed at every flush, rename and removal in turn, twice, each archive ends up the same and whole."""
    script = KILLED_AT_EACH_STEP.format(tests=str(Path(__file__).parent), root=str(tmp_path), stride=stride)

    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)

    assert done.returncode == 0, done.stderr.decode()
    count = int(done.stdout)
    assert count > 20
    wanted = _tree(tmp_path / f"{count}.zarr")
    for at in range(1, count, stride):
        assert _tree(tmp_path / f"{at}.zarr") == wanted, at
        assert verify_archive(tmp_path / f"{at}.zarr").is_whole


def test_an_unknown_folder_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    """The error lists the entries and the layouts that are known."""
    (tmp_path / "photos").mkdir()

    with pytest.raises(DataMissing, match=r"holds photos; expected a known layout, .*raw"):
        open_source(tmp_path)
    with pytest.raises(DataMissing, match="holds nothing"):
        open_source(tmp_path / "photos")
    with pytest.raises(DataMissing, match="there is no"):
        open_source(tmp_path / "none")
    with pytest.raises(UnknownName, match=r"'row'.*did you mean raw"):
        open_source(tmp_path, layout="row")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataMissing, match="it is a file"):
        open_source(tmp_path / "a.csv")


def test_an_archive_that_lacks_a_table_is_not_taken_for_a_source(tmp_path: Path) -> None:
    """The remedy says how to look at it; a whole one is a source."""
    pack(Radar(1), tmp_path / "a.zarr")
    assert open_source(tmp_path / "a.zarr").num_seasons == 2
    (tmp_path / "a.zarr/locations.parquet").unlink()

    with pytest.raises(DataMissing, match="ssl4eo info"):
        open_source(tmp_path / "a.zarr")


def test_the_raw_layout_is_detected_and_by_name(tmp_path: Path) -> None:
    """Both ways give the same kind of source, with the seasons asked for."""
    (tmp_path / "s2c").mkdir()

    for layout in ("auto", "raw"):
        source = open_source(tmp_path, layout=layout, num_seasons=3)
        assert isinstance(source, RawLayout)
        assert source.num_seasons == 3


@pytest.mark.real
def test_real_imagery_comes_out_as_it_is_in_the_geotiffs(tmp_path: Path) -> None:
    """Sentinel-2 L1C, every band and date of three places, against rasterio."""
    tool = SHARED / "tools" / "cut_raw_layout.py"
    if not tool.is_file() or not (SHARED / "data" / "oscd").is_dir():
        pytest.skip("the real imagery is not here")
    raw, target = tmp_path / "raw", tmp_path / "a.zarr"
    subprocess.run([sys.executable, str(tool), str(raw), "--limit", "3"], check=True, capture_output=True)

    report = pack(open_source(raw), target)

    archive = open_archive(target)
    assert (report.num_stored, archive.num_seasons, len(report.skipped)) == (3, 2, 0)
    assert verify_archive(target).is_whole
    compared = 0
    for location in archive.ids:
        products = sorted((raw / "s2c" / location).iterdir())
        for season, product in enumerate(products):
            image = archive.read("S2L1C", location=location, season=season)
            assert image.product == product.name
            for band in modality("S2L1C").bands:
                with rasterio.open(product / f"{published_band(band)}.tif") as file:
                    assert np.array_equal(image.band(band), file.read(1))
                    assert image.band(band).dtype == file.dtypes[0]
                    compared += 1
    assert compared == 3 * 2 * 13


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    """Programs read what people see."""
    report = pack(replace(Radar(2), broken=frozenset({"0000001"})), tmp_path / "a.zarr")

    data = json.loads(json.dumps(report.to_json()))

    assert (data["stored"], data["resumed"], [row["location"] for row in data["skipped"]]) == (1, 0, ["0000001"])


@pytest.mark.parametrize("how", [{"workers": 2}, {"dask": "local", "workers": 2}], ids=["processes", "dask"])
def test_workers_change_no_byte(tmp_path: Path, how: dict[str, object]) -> None:
    """Processes and a local Dask cluster make the archive that one process makes, the ledger included."""
    source = Radar(70, broken=frozenset({"0000000", "0000041"}))

    reports = [pack(source, tmp_path / "one.zarr"), pack(source, tmp_path / "many.zarr", **how)]

    assert reports[0].to_json()["skipped"] == reports[1].to_json()["skipped"]
    assert _tree(tmp_path / "one.zarr") == _tree(tmp_path / "many.zarr")


def test_a_location_broken_in_a_worker_stops_packing_where_that_is_asked_for(tmp_path: Path) -> None:
    """The error of another process comes out with its type, and nothing is left."""
    with pytest.raises(SourceInvalid, match="0000003"):
        pack(Radar(5, broken=frozenset({"0000003"})), tmp_path / "a.zarr", errors="raise", workers=2)

    assert list(tmp_path.iterdir()) == []


def test_work_that_was_begun_alone_is_finished_by_several(tmp_path: Path) -> None:
    """The segments of the first run set the pace; the archive is the same."""

    class Interrupted(Radar):
        def read(self, location: str) -> Sample:
            if location == "0000130":
                raise KeyboardInterrupt
            return super().read(location)

    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted(140), tmp_path / "a.zarr")

    report = pack(Radar(140), tmp_path / "a.zarr", workers=2)

    pack(Radar(140), tmp_path / "b.zarr")
    assert report.num_resumed == 128
    assert _tree(tmp_path / "a.zarr") == _tree(tmp_path / "b.zarr")


@pytest.mark.parametrize(("workers", "error"), [(0, ConfigInvalid), (-1, ConfigInvalid)])
def test_no_workers_are_refused(tmp_path: Path, workers: int, error: type) -> None:
    """One is the least."""
    with pytest.raises(error, match="workers"):
        pack(Radar(2), tmp_path / "a.zarr", workers=workers)

    assert list(tmp_path.iterdir()) == []


def test_a_dead_worker_is_told_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """A worker that the system kills ends the run with a remedy, not with a hang."""
    with pytest.raises(WorkerLost, match="fewer --workers"):
        pack(Suicidal(40), tmp_path / "a.zarr", workers=2)

    pack(Radar(40), tmp_path / "a.zarr", workers=2)
    assert verify_archive(tmp_path / "a.zarr").is_whole


class Suicidal(Radar):
    """A source that kills the process that reads location 20."""

    def read(self, location: str) -> Sample:
        """Read, or die."""
        if location == "0000020":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(location)


@dataclass(frozen=True)
class Spotted(Radar):
    """A source whose images have, by id, one pixel of 0 dB, NaN, or nothing but 0 dB."""

    def read(self, location: str) -> Sample:
        """Spoil the first image."""
        sample = super().read(location)
        first = sample.images["S1GRD"][0].pixels[10]
        if location == "0000001":
            first[0, 0, 0] = 0
        elif location == "0000002":
            first[1, 2, 3] = np.nan
        elif location == "0000003":
            first[:] = 0
        return sample


def test_unobserved_and_broken_pixels_are_never_packed_as_fine(tmp_path: Path) -> None:
    """0 dB is left out, or flagged on request; NaN is left out always; the ledger says what and where."""
    skipped = pack(Spotted(5), tmp_path / "skip.zarr").skipped
    flagged = pack(Spotted(5), tmp_path / "flag.zarr", nodata="flag")

    assert list(skipped) == ["0000001", "0000002", "0000003"]
    assert "0 dB, the fill value, in 2.78% of its pixels" in skipped["0000001"]
    assert "NaN" in skipped["0000002"]
    assert list(flagged.skipped) == ["0000002"]
    archive = open_archive(tmp_path / "flag.zarr")
    valid = {i: [archive.read("S1GRD", location=i, season=s).valid for s in (0, 1)] for i in archive.ids}
    assert valid == {
        "0000000": [True, True],
        "0000001": [False, True],
        "0000003": [False, True],
        "0000004": [True, True],
    }


def test_an_address_where_no_scheduler_listens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the client raises, the error names the address and what to start."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Timed out trying to connect to tcp://127.0.0.1:1 after 30 s")

    monkeypatch.setattr("distributed.Client", refuse)

    with pytest.raises(DataMissing, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 .*dask scheduler"):
        pack(Radar(2), tmp_path / "a.zarr", dask="tcp://127.0.0.1:1")

    assert list(tmp_path.iterdir()) == []
