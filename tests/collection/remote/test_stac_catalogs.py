# SPDX-License-Identifier: Apache-2.0
"""The table of catalogs is consistent, and a user adds one by a file of a few lines."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ground_truth import resolution_of
from remote_places import read_one
from stac_scenes import L2A, TIME, Clock, around, make_truth, publish
from stac_server import StacServer

from ssl4eo.collection.remote.patch_grid import patch_grid
from ssl4eo.collection.remote.stac.catalog_file import catalog_of, load_catalog
from ssl4eo.collection.remote.stac.catalogs import CATALOGS, catalog
from ssl4eo.collection.remote.stac.profile import Catalog, Profile
from ssl4eo.collection.remote.stac.service import StacService
from ssl4eo.errors import ConfigInvalid, DataMissing, Ssl4eoError, UnknownName
from ssl4eo.sample import Location
from ssl4eo.sensors import modality

ROWS = [pytest.param(profile, id=f"{c.name}-{profile.modality}") for c in CATALOGS.values() for profile in c.profiles]
PROFILE = {"modality": "S2L2A", "collection": "s2", "bands": {"B02": "blue"}}


@pytest.mark.parametrize("profile", ROWS)
def test_every_row_has_all_bands_and_says_its_terms(profile: Profile) -> None:
    """Bands in canonical order, a licence, remarks."""
    product = profile.product

    assert tuple(product.bands) == product.form.bands == modality(profile.modality).bands
    assert product.licence
    assert product.remarks


@pytest.mark.parametrize("known", CATALOGS.values(), ids=list(CATALOGS))
def test_every_sentinel_modality_is_there_or_explained(known: Catalog) -> None:
    """A user who asks for GRD or L1C is told where it is."""
    for name in ("S1GRD", "S2L1C", "S2L2A"):
        has = name in [profile.modality for profile in known.profiles]
        assert has != (name in known.lacks) or known.name == "earth-search-c1"


def test_buckets_whose_requester_pays_say_so() -> None:
    """Money is never spent silently."""
    known = catalog("earth-search")

    assert known.buckets["sentinel-s2-l1c"].requester_pays
    assert "pays" in known.profile("S2L1C").remarks


def test_an_unknown_catalog_is_answered_with_the_nearest() -> None:
    """By name."""
    with pytest.raises(UnknownName, match="did you mean earth-search"):
        catalog("earthsearch")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": "reflectance"}, "one of dn, power"),
        ({"values": "power"}, "values that become DN"),
        ({"offset": "sometimes"}, "flag:<property>"),
        ({"resampling": "cubic"}, "one of refuse, nearest, bilinear"),
        ({"mask": "scl"}, "both or neither"),
        ({"mask": "scl", "mask_kind": "qa60"}, "one of"),
        ({"bands": {"B99": "x"}}, "B01"),
        ({"bands": {}}, "none"),
    ],
)
def test_profiles_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    """With what is expected."""
    with pytest.raises(ConfigInvalid, match=words):
        Profile(**{**PROFILE, **changes})


def test_a_modality_is_there_once() -> None:
    """Which of two would be meant?"""
    with pytest.raises(ConfigInvalid, match="each modality once"):
        Catalog(name="x", api="https://x", profiles=(Profile(**PROFILE), Profile(**PROFILE)))


def test_a_mirror_takes_three_lines(tmp_path: Path) -> None:
    """Everything else is as the known catalog has it."""
    path = tmp_path / "mirror.yaml"
    path.write_text("name: mirror\nlike: planetary-computer\napi: https://stac.example.org/v1\n")

    known = load_catalog(path)

    expected = dataclasses.replace(catalog("planetary-computer"), name="mirror", api="https://stac.example.org/v1")
    assert known == expected


def test_a_profile_of_a_known_catalog_is_changed_by_the_fields_that_are_written() -> None:
    """Here another resampling; assets and offset rule stay."""
    rows = [{"modality": "S2L2A", "resampling": "nearest"}]

    known = catalog_of({"name": "mine", "like": "earth-search", "profiles": rows})

    assert known.profiles == (dataclasses.replace(catalog("earth-search").profile("S2L2A"), resampling="nearest"),)


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_catalog_from_a_file_collects(tmp_path: Path, suffix: str) -> None:
    """A host that nobody knew: written down, searched, read."""
    with StacServer() as server:
        truth = make_truth(11.58, 48.14, baseline=400)
        publish(server, "planetary-computer", truth)
        server.items[0]["collection"] = "optical"
        data = {
            "name": "mine",
            "api": server.api,
            "profiles": [
                {
                    "modality": "S2L2A",
                    "collection": "optical",
                    "bands": {band: band for band in L2A},
                    "offset": "baseline",
                    "cloud_property": "eo:cloud_cover",
                    "mask": "SCL",
                    "mask_kind": "scl",
                }
            ],
        }
        path = tmp_path / f"mine.{suffix}"
        if suffix == "json":
            path.write_text(json.dumps(data))
        else:
            import yaml

            path.write_text(yaml.safe_dump(data))

        stac = StacService(load_catalog(path), retry=Clock().retry())
        product = stac.product("S2L2A")
        (scene,) = stac.search(Location("a", 11.58, 48.14), [around(TIME)], product)
        grid = patch_grid(11.58, 48.14)
        patch = read_one(stac, scene, product, grid)

    for band in L2A:
        size = grid.num_pixels(resolution_of(band))
        expected = truth.plane(band, grid.left, grid.top, size, offset=False)
        np.testing.assert_array_equal(patch.image.band(band), expected)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        ([], ConfigInvalid, "names and values"),
        ({"name": "x"}, ConfigInvalid, "has no profiles"),
        ({"name": "x", "api": "y", "profiles": []}, ConfigInvalid, "has no profiles"),
        ({"name": "x", "profiles": [PROFILE]}, ConfigInvalid, "lacks api"),
        ({"name": "x", "like": "earth-serch"}, UnknownName, "did you mean earth-search"),
        ({"name": "x", "like": "cdse", "apis": "y"}, UnknownName, "did you mean api"),
        ({"name": 3, "like": "cdse"}, ConfigInvalid, "name of catalog is 3; expected str"),
        ({"name": "x", "like": "cdse", "page_size": True}, ConfigInvalid, "expected int"),
        ({"name": "x", "like": "cdse", "signed_hosts": "a"}, ConfigInvalid, "a list"),
        ({"name": "x", "like": "cdse", "buckets": {"b": {"regoin": "r"}}}, UnknownName, "did you mean region"),
        ({"name": "x", "like": "cdse", "profiles": [{"modality": "S2L9"}]}, Ssl4eoError, "lacks collection"),
        ({"name": "x", "api": "y", "profiles": [{**PROFILE, "modality": "S2L9"}]}, UnknownName, "S2L"),
        ({"name": "x", "like": "cdse", "filter_language": "sql"}, ConfigInvalid, "cql2-json"),
    ],
)
def test_files_that_cannot_work_are_refused_with_the_place(data: object, kind: type[Exception], words: str) -> None:
    """What was found, what is expected."""
    with pytest.raises(kind, match=words):
        catalog_of(data)


def test_a_file_that_is_missing_or_no_yaml_is_told(tmp_path: Path) -> None:
    """Both name the file."""
    with pytest.raises(DataMissing, match=r"no\.yaml"):
        load_catalog(tmp_path / "no.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("{a: [")
    with pytest.raises(ConfigInvalid, match=r"bad\.yaml"):
        load_catalog(path)


def test_the_files_in_the_documentation_load() -> None:
    """What a user copies works."""
    import yaml

    text = (Path(__file__).parents[3] / "docs" / "stac.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    names = [catalog_of(yaml.safe_load(block)).name for block in blocks]

    assert names == ["mirror", "mine"]


def test_the_documentation_lists_every_catalog() -> None:
    """A new row of the table needs a column in the page."""
    text = (Path(__file__).parents[3] / "docs" / "stac.md").read_text(encoding="utf-8")

    assert all(f"`{name}`" in text for name in CATALOGS)
