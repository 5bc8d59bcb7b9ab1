# SPDX-License-Identifier: Apache-2.0
"""The table: what it says can be asked for, and it says no more than it knows."""

from __future__ import annotations

import re
import urllib.parse

import pytest

from ssl4eo.download import DATASETS, Checksum, archives_of, find_dataset
from ssl4eo.download.names import require_inside
from ssl4eo.errors import ConfigInvalid, UnknownName

ENTRIES = [(dataset.name, entry) for dataset in DATASETS.values() for entry in dataset.files]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda d: d.name)
def test_every_data_set_has_a_license_a_page_and_one_way(dataset):
    """Files, a listing, a drive file, or instructions: one of them."""
    ways = [bool(dataset.files), dataset.listing is not None, dataset.drive is not None, bool(dataset.manual)]

    assert dataset.license
    assert dataset.title
    assert dataset.page.startswith("https://")
    assert sum(ways) == 1


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda d: d.name)
def test_the_names_in_a_data_set_are_unique_and_stay_inside(dataset):
    """Also where only the case differs."""
    names = [entry.name for entry in dataset.files]

    assert len({name.lower() for name in names}) == len(names)
    assert all(str(require_inside(name, "the table")) == name for name in names)


def test_every_address_is_https_and_comes_once():
    """No address is plain, none stands twice."""
    urls = [entry.url for _, entry in ENTRIES]

    assert {urllib.parse.urlsplit(url).scheme for url in urls} == {"https"}
    assert len(set(urls)) == len(urls)


def test_every_checksum_is_one_and_comes_once():
    """32 hexadecimal digits, and no two files share them: a line that was copied twice shows here."""
    digests = [entry.checksum.value for _, entry in ENTRIES if entry.checksum]

    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)


def test_every_known_size_is_positive():
    """Unknown is None, never 0."""
    assert all(entry.size is None or entry.size > 0 for _, entry in ENTRIES)


def test_what_has_no_checksum_says_so():
    """A file that cannot be verified is marked, itself or its data set."""
    unmarked = {n for n, e in ENTRIES if e.checksum is None and not e.unverified and not DATASETS[n].unverified}

    assert unmarked == set()


@pytest.mark.parametrize(
    ("name", "subset", "count"),
    [
        ("raw", "s1_grd", 10), ("raw", "s2_l1c", 12), ("raw", "s2_l2a", 12),
        ("ssl4eo-l", "tm_toa", 7), ("ssl4eo-l", "etm_toa", 9), ("ssl4eo-l", "etm_sr", 7),
        ("ssl4eo-l", "oli_tirs_toa", 9), ("ssl4eo-l", "oli_sr", 7),
        ("bigearthnet-v2", "s1", 2), ("bigearthnet-v2", "s2", 2), ("bigearthnet-v2", "maps", 1),
        ("v1.1-datahub", "S2L1C", 3846), ("ssl4eo-l-benchmark", "masks", 6),
    ],
)  # fmt: skip
def test_the_parts_are_as_many_as_published(name, subset, count):
    """Counts of the facts, by hand."""
    assert sum(entry.subset == subset for entry in find_dataset(name).files) == count


def test_the_first_and_last_part_of_raw_are_the_published_ones():
    """Address and MD5 as TorchGeo has them."""
    entries = {entry.name: entry for entry in find_dataset("raw").files}
    base = "https://hf.co/datasets/wangyi111/SSL4EO-S12/resolve/3f5ddad68ba2ea29d019b0cef6cf292ff8af0d62"

    first, last = entries["s1_grd.tar.gz.partaa"], entries["s2_l2a.tar.gz.partal"]

    assert first.url == f"{base}/s1_grd/s1_grd.tar.gz.partaa"
    assert str(first.checksum) == "md5 6df278053fc3e4c3fd7de2f77856e606"
    assert last.url == f"{base}/s2_l2a/s2_l2a.tar.gz.partal"
    assert str(last.checksum) == "md5 1cc3641cd52afedaa1c50d14d84a6664"


def test_raw_unpacks_as_three_archives():
    """Each modality is one tar file in parts."""
    assert {k: len(v) for k, v in archives_of(find_dataset("raw").files).items()} == {
        "s1_grd.tar.gz": 10,
        "s2_l1c.tar.gz": 12,
        "s2_l2a.tar.gz": 12,
    }


def test_no_zarr_store_is_an_archive():
    """A store in a zip file is read as it is."""
    assert all(not entry.archive for _, entry in ENTRIES if entry.name.endswith(".zarr.zip"))


def test_an_unknown_name_gets_a_suggestion():
    """A typing error is answered."""
    with pytest.raises(UnknownName, match="did you mean eurosat"):
        find_dataset("eurosta")


@pytest.mark.parametrize("value", ["", "abc", "g" * 32, "a" * 31, "a" * 64])
def test_a_wrong_checksum_is_refused(value):
    """A slip in the table does not wait for the download."""
    with pytest.raises(ConfigInvalid):
        Checksum("md5", value)
