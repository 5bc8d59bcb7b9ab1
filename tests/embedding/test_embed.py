# SPDX-License-Identifier: Apache-2.0
"""Embedding: the same file whatever the workers and interruptions, and the features that `embed` gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace

import embed_driver
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ssl4eo
from forked import run_forked
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.embedding import embed as embed_module
from ssl4eo.embedding import plan, work
from ssl4eo.embedding.embed import embed_archive
from ssl4eo.errors import (
    CheckpointInvalid,
    ConfigInvalid,
    ContractMismatch,
    LocationMissing,
    RunStopped,
    SampleInvalid,
    TargetExists,
    UnknownName,
)
from ssl4eo.packing.pack import pack

NETWORK = "random.resnet18.s2l1c"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Five places, two dates, optical alone."""
    target = tmp_path_factory.mktemp("embed") / "a.zarr"
    pack(SyntheticPlanet(5, seed=3, num_seasons=2, size=66, modalities=("S2L1C",)), target, statistics=False)
    return target


@pytest.fixture(scope="module")
def undisturbed(archive, tmp_path_factory, one_commit):
    """The file as one process writes it in parts of four images."""
    out = tmp_path_factory.mktemp("undisturbed") / "e.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_IMAGES", 4)
        embed(archive, out)
    return out


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of two places, two dates each."""
    monkeypatch.setattr(plan, "PART_IMAGES", 4)


@pytest.fixture(scope="module", autouse=True)
def one_commit():
    """The file notes the commit; tests run also while somebody commits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_module, "commit", lambda: None)
        yield


def embed(archive, out, **options):
    return embed_archive(NETWORK, archive, out, **{"image_size": 32, "workers": 1, **options})


def test_rows_are_what_the_network_gives_for_each_image(archive, undisturbed):
    """Location by location, date by date; equal to `embed` of the image up to the order of sums in a batch."""
    embeddings, stored = ssl4eo.open_embeddings(undisturbed), ssl4eo.open_archive(archive)
    backbone = ssl4eo.load_backbone(NETWORK, image_size=32)

    expected = [backbone.embed(stored.read("S2L1C", location=i, season=s)).numpy() for i in range(5) for s in range(2)]

    np.testing.assert_allclose(embeddings.vectors(), np.stack(expected), rtol=1e-4, atol=1e-5)
    assert embeddings.locations == tuple(name for name in stored.ids for _ in range(2))
    assert embeddings.seasons.tolist() == [0, 1] * 5


@pytest.fixture(scope="module")
def killed_once(archive, tmp_path_factory):
    """What a run killed with -9 before its second part got its name has left."""
    out = tmp_path_factory.mktemp("killed") / "e.parquet"
    killed = run_forked(embed_driver.main, archive, out, 2, signal.SIGKILL, folder=out.parent / "told")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    return out.with_name("e.parquet.partial")


@pytest.fixture
def killed(killed_once, tmp_path):
    """The file that is still to be made, with those remains beside it."""
    shutil.copytree(killed_once, tmp_path / "e.parquet.partial")
    return tmp_path / "e.parquet"


def test_two_processes_write_the_same_file_byte_for_byte(archive, undisturbed, tmp_path, small_parts):
    """And nothing is left beside it."""
    embed(archive, tmp_path / "e.parquet", workers=2)

    assert (tmp_path / "e.parquet").read_bytes() == undisturbed.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["e.parquet"]


def test_a_dask_cluster_writes_the_same_file_byte_for_byte(archive, undisturbed, tmp_path, small_parts):
    """Two workers of a cluster at an address."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        embed(archive, tmp_path / "e.parquet", dask=cluster.scheduler_address)

    assert (tmp_path / "e.parquet").read_bytes() == undisturbed.read_bytes()


def test_a_killed_run_loses_the_part_under_way_and_ends_the_same(archive, undisturbed, killed, small_parts):
    """The first part is not computed again."""
    assert sorted(path.name for path in killed.with_name("e.parquet.partial").glob("*.npy")) == ["00000.npy"]

    report = embed(archive, killed)

    assert report.num_resumed == 4
    assert killed.read_bytes() == undisturbed.read_bytes()


def test_a_signal_lets_the_part_under_way_be_finished(archive, undisturbed, tmp_path, small_parts, monkeypatch):
    """SIGTERM during the first part: it is kept, the run ends with a word, the next one goes on."""
    out, real = tmp_path / "e.parquet", work.extract

    def signalled(*arguments, **options):
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments, **options)

    monkeypatch.setattr(work, "extract", signalled)
    with pytest.raises(RunStopped, match="after 4 of 10 images"):
        embed(archive, out)
    monkeypatch.setattr(work, "extract", real)

    assert embed(archive, out).num_resumed == 4
    assert out.read_bytes() == undisturbed.read_bytes()


def test_a_torn_part_is_computed_again(archive, undisturbed, killed, small_parts):
    """A part cut short by a crash of the machine does not get into the file."""
    part = killed.with_name("e.parquet.partial") / "00000.npy"
    part.write_bytes(part.read_bytes()[:200])

    assert embed(archive, killed).num_resumed == 0
    assert killed.read_bytes() == undisturbed.read_bytes()


def test_the_same_job_again_does_nothing_and_another_is_refused(archive, undisturbed, tmp_path, monkeypatch):
    """A whole file is not computed anew, and never overwritten."""
    before = undisturbed.read_bytes()
    monkeypatch.setattr(work, "extract", None)  # nobody may call it

    assert embed(archive, undisturbed).num_resumed == 10
    with pytest.raises(TargetExists, match=r"config.seasons all there, mean now"):
        embed(archive, undisturbed, seasons="mean")
    (tmp_path / "x.parquet").write_text("mine")
    with pytest.raises(TargetExists):
        embed(archive, tmp_path / "x.parquet")
    assert undisturbed.read_bytes() == before
    assert (tmp_path / "x.parquet").read_text() == "mine"


@pytest.mark.parametrize("column", ["season", "embedding"])
def test_a_damaged_file_is_not_taken_for_the_result(archive, undisturbed, tmp_path, column):
    """The same command says that it is damaged and to remove it; without it, it is made anew."""
    out = tmp_path / "e.parquet"
    group = pq.read_metadata(undisturbed).row_group(0)
    number = next(i for i in range(group.num_columns) if group.column(i).path_in_schema.split(".")[0] == column)
    content, end = bytearray(undisturbed.read_bytes()), group.column(number).data_page_offset
    content[end + group.column(number).total_compressed_size - 30] ^= 255
    out.write_bytes(content)

    with pytest.raises(TargetExists, match=r"cannot be read .*remove it yourself"):
        embed(archive, out)

    assert out.read_bytes() == content


def test_what_was_begun_by_another_job_is_not_gone_on_with(archive, killed, small_parts):
    """Parts of one checkpoint never meet those of another; a foreign folder is not touched."""
    with pytest.raises(TargetExists, match=r"checkpoint.seed 0 there, 1 now"):
        embed(archive, killed, seed=1)
    plan_file = killed.with_name("e.parquet.partial") / "plan.json"
    plan_file.rename(plan_file.with_name("mine.json"))
    with pytest.raises(TargetExists, match="expected parts of this job"):
        embed(archive, killed)
    assert plan_file.with_name("mine.json").is_file()


def test_a_mean_is_that_of_the_observed_dates(archive, undisturbed, tmp_path):
    """One row a place, no season, no time; unobserved dates are left out where another is there."""
    embed(archive, tmp_path / "m.parquet", seasons="mean")

    means, rows = ssl4eo.open_embeddings(tmp_path / "m.parquet"), ssl4eo.open_embeddings(undisturbed).vectors()
    np.testing.assert_allclose(means.vectors(), rows.reshape(5, 2, -1).mean(axis=1), rtol=1e-4, atol=1e-5)
    assert means.seasons.tolist() == [-1] * 5
    values = np.array([[[1.0], [3.0]], [[1.0], [3.0]]], np.float32)
    assert work.mean_of(values, np.array([[True, False], [False, False]])).tolist() == [[1.0], [2.0]]


def test_one_date_and_some_places_can_be_asked_for(archive, undisturbed, tmp_path):
    """In the order of the archive; the values are those of the whole file."""
    stored = ssl4eo.open_archive(archive)
    embed(archive, tmp_path / "e.parquet", seasons="1", ids=[stored.ids[3], stored.ids[0]])

    some, every = ssl4eo.open_embeddings(tmp_path / "e.parquet"), ssl4eo.open_embeddings(undisturbed)
    assert some.locations == (stored.ids[0], stored.ids[3])
    assert some.seasons.tolist() == [1, 1]
    np.testing.assert_allclose(some.vectors(), every.vectors()[[1, 7]], rtol=1e-4, atol=1e-5)


def test_float16_halves_the_values_and_refuses_what_it_cannot_hold(archive, undisturbed, tmp_path, monkeypatch):
    """Within its rounding; a value beyond 65504 names the place."""
    embed(archive, tmp_path / "h.parquet", dtype="float16")

    half, full = ssl4eo.open_embeddings(tmp_path / "h.parquet").vectors(), ssl4eo.open_embeddings(undisturbed).vectors()
    np.testing.assert_allclose(half, full, rtol=2**-10, atol=1e-4)
    real = work.extract
    monkeypatch.setattr(work, "extract", lambda *a, **o: real(*a, **o) * 1e9)
    with pytest.raises(SampleInvalid, match="too large for float16"):
        embed(archive, tmp_path / "x.parquet", dtype="float16")


def test_features_that_are_not_finite_name_place_and_date(archive, tmp_path, monkeypatch):
    """NaN never gets into a file."""
    backbone = ssl4eo.load_backbone(NETWORK, image_size=32)
    backbone.net.bn1.weight.data[:] = float("nan")
    monkeypatch.setattr(work, "_opened", {})
    real = work.load_network
    monkeypatch.setattr(work, "load_network", lambda *a, **o: replace(real(*a, **o), backbone=backbone))

    with pytest.raises(SampleInvalid, match=rf"{ssl4eo.open_archive(archive).ids[0]}, season 0 are not finite"):
        embed(archive, tmp_path / "e.parquet")


@pytest.mark.parametrize(
    ("checkpoint", "options", "error"),
    [
        ("random.resnet18.s1grd", {}, ContractMismatch),
        ("random.resnet18.s2l2a", {}, ContractMismatch),
        ("random.resnet18.s1grd", {"modality": "S2L1C"}, ContractMismatch),
        (NETWORK, {"modality": "S2L2A"}, UnknownName),
        (NETWORK, {"seasons": "2"}, LocationMissing),
        (NETWORK, {"seasons": "spring"}, ConfigInvalid),
        (NETWORK, {"ids": ["nobody"]}, LocationMissing),
        (NETWORK, {"workers": 0}, ConfigInvalid),
        (NETWORK, {"batch_size": 0}, ConfigInvalid),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(archive, tmp_path, checkpoint, options, error):
    """Another sensor, no such date or place, no worker."""
    with pytest.raises(error):
        embed_archive(checkpoint, archive, tmp_path / "e.parquet", **{"image_size": 32, "workers": 1, **options})

    assert list(tmp_path.iterdir()) == []


def test_others_read_the_file_as_geoparquet(archive, undisturbed):
    """Points in WGS 84 for geopandas, a fixed-size list for plain pyarrow, and a record that says what is what."""
    import geopandas as gpd

    frame = gpd.read_parquet(undisturbed)
    schema = pq.read_schema(undisturbed)

    stored = ssl4eo.open_archive(archive)
    assert frame.crs.to_epsg() in (4326, None)
    assert frame.crs == gpd.GeoSeries([], crs="OGC:CRS84").crs
    assert frame.geometry.iloc[::2].geom_equals(stored.locations.geometry.set_axis(frame.index[::2])).all()
    assert frame["time"].dt.tz is not None
    assert (frame["time"].dt.tz_localize(None).to_numpy() == stored.times("S2L1C").reshape(-1)).all()
    assert schema.field("embedding").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 512)
    geo = json.loads(schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert geo["columns"]["geometry"]["encoding"] == "WKB"
    np.testing.assert_allclose(geo["columns"]["geometry"]["bbox"], stored.locations.total_bounds)
    assert set(frame["checkpoint"]) == {NETWORK}
    assert json.loads(frame["contract"].iloc[0])["modality"] == "S2L1C"


def test_the_command_refuses_a_network_for_other_input_with_one_message(archive, tmp_path, capsys):
    """Status 1, no traceback, the remedy named."""
    status = main(["embed", "--checkpoint", "random.resnet18.s1grd", "--data", str(archive),
                   "--out", str(tmp_path / "e.parquet")])  # fmt: skip

    assert status == 1
    assert "the network wants S1GRD" in capsys.readouterr().err


OWN_NETWORK = """
import torch
from torch import nn
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.contract import network_input

def bands(trained=True):
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(13, 4))
    with torch.no_grad():
        net[2].weight.fill_(0.5)
    return OwnBackbone(net, network_input("S2L1C"), image_size=32, name="bands", trained=trained, method="hand")

def fixed():
    torch.manual_seed(0)
    return bands()

def drawn():
    torch.seed()
    return bands(trained=False)
"""


def test_a_network_of_ones_own_is_named_as_an_object_of_a_file(archive, tmp_path, small_parts, monkeypatch):
    """A worker imports it for itself; one that draws other weights each time is refused there."""
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    (tmp_path / "networks_to_embed.py").write_text(OWN_NETWORK)
    monkeypatch.chdir(tmp_path)

    report = embed_archive("networks_to_embed.py:fixed", archive, tmp_path / "e.parquet", workers=1)

    record = ssl4eo.open_embeddings(tmp_path / "e.parquet").record["checkpoint"]
    assert (report.num_rows, report.num_features) == (10, 4)
    assert (record["name"], record["method"], record["backbone"]) == ("networks_to_embed.py:fixed", "hand", "bands")
    assert len(record["sha256"]) == 64
    with pytest.raises(CheckpointInvalid, match="for this worker"):
        embed_archive("networks_to_embed.py:drawn", archive, tmp_path / "f.parquet", workers=1)
