# SPDX-License-Identifier: Apache-2.0
"""The two published commands of `examples/`, as they stand there, against the stand-in of Earth Engine."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from earthengine_assets import landsat_values
from earthengine_helpers import make_credentials
from earthengine_server import EarthEngineServer
from ground_scenes import scenes_at
from ground_truth import Truth

import ssl4eo
from ssl4eo.cli import main
from ssl4eo.collecting.seasons import PlaceWindows, season_rule
from ssl4eo.collection.remote import earthengine_session
from ssl4eo.locations.reading import read_places
from ssl4eo.sensors import modality

SCRIPT = Path(__file__).parents[3] / "examples/collect_published.sh"


@pytest.fixture
def commands(ee_server: EarthEngineServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands of the script with two places in place of 250,000; the account is that of the stand-in."""
    ee_server.reset()
    earthengine_session.close()
    account = partial(earthengine_session.Account, url=ee_server.url, credentials=make_credentials)
    monkeypatch.setattr(earthengine_session, "Account", account)
    monkeypatch.chdir(tmp_path)
    Path("centers.csv").write_text("0000017,10.0,48.0\n0000042,-70.6,-33.4\n")
    text = SCRIPT.read_text().replace("\\\n", " ").replace("--count 250000", "--count 2")
    text = text.replace('"$project"', ee_server.project).replace('"$centers"', "centers.csv")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("ssl4eo ")]


def show(server: EarthEngineServer, table: str, name: str) -> dict[str, list[Truth]]:
    """Put a scene of a product where each place looks for one; give them by place."""
    windows = PlaceWindows(season_rule("published"), seed=0)
    shown: dict[str, list[Truth]] = {}
    for place in read_places(Path(table)):
        lon, lat = place.points[0]
        times = [window.ranges[0].target for window in windows(place.id, lat)]
        shown[place.id] = scenes_at(lon, lat, times, modalities=(name,))
        server.add(*shown[place.id])
    return shown


def test_sentinel_2_around_cities(commands: list[list[str]], ee_server: EarthEngineServer) -> None:
    """Two places of four seasons, 264 px, thirteen bands; the plan first, which fetches nothing."""
    draw, plan, collect = commands[:3]
    assert main(draw) == 0
    show(ee_server, "cities.parquet", "S2L1C")

    assert main(plan) == 0
    assert not Path("s2_l1c.zarr").exists()
    assert main(collect) == 0

    archive = ssl4eo.open_archive("s2_l1c.zarr")
    assert (len(archive), archive.num_seasons, archive.shape) == (2, 4, (264, 264))
    assert len(archive.form("S2L1C").bands) == 13


def test_landsat_8_at_published_places_with_every_row_of_b9(
    commands: list[list[str]], ee_server: EarthEngineServer
) -> None:
    """Ids are kept; B9, of which the reference kept 66 rows, has 132 as all bands of 30 m have, and its own values."""
    draw, collect = commands[3:]
    assert main(draw) == 0
    shown = show(ee_server, "matched.parquet", "L8TOA")

    assert main(collect) == 0

    archive = ssl4eo.open_archive("landsat8.zarr")
    assert archive.ids == ("0000017", "0000042")
    low, high, _ = modality("L8TOA").stretch["B9"]
    for name in archive.ids:
        image, truth = archive.sample(name).images["L8TOA"][0], min(shown[name], key=lambda t: t.time)
        assert (image.time, image.band("B9").shape) == (truth.time, (132, 132))
        assert image.transform is not None
        step = np.arange(132, dtype=np.int64) * 30 + 15
        left, top = int(image.transform[2]), int(image.transform[5])
        east, north = np.broadcast_arrays(left + step[None, :], top - step[:, None])
        exact = 255 * (np.float32(landsat_values(truth, "B9", east, north)).astype(float) - low) / (high - low)
        np.testing.assert_array_equal(image.band("B9"), np.clip(np.floor(exact + 0.5), 0, 255))
        assert np.unique(image.band("B9")[66:]).size > 1
