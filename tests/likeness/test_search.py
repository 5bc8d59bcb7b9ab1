# SPDX-License-Identifier: Apache-2.0
"""Search by likeness: exact against brute force, places told apart from their own dates."""

from __future__ import annotations

import numpy as np
import pytest
from made_embeddings import make_embeddings

from ssl4eo.errors import ConfigInvalid, LocationMissing, SampleInvalid
from ssl4eo.likeness import search
from ssl4eo.likeness.embeddings import unit_rows
from ssl4eo.likeness.search import Likeness, Scan, Sketch, mean_by_place, nearest_places


def unit(rng: np.random.Generator, count: int, width: int, *, spread: float = 1.0):
    """Draw unit vectors around one direction."""
    center = rng.standard_normal(width)
    return unit_rows((center + spread * rng.standard_normal((count, width))).astype(np.float32))


@pytest.mark.parametrize("sketch", [None, 3, 62])
@pytest.mark.parametrize("spread", [10.0, 0.3, 0.01])
@pytest.mark.parametrize(("shard", "judged"), [(10**9, 8192), (100, 100)])
def test_a_scan_finds_what_brute_force_finds(sketch, spread, shard, judged, monkeypatch):
    """By sketches that tell little, of rows nearly the same, over several shards, and when bounds give up."""
    monkeypatch.setattr(search, "SHARD_ROWS", shard)
    monkeypatch.setattr(search, "MOST_JUDGED", judged)
    monkeypatch.setattr(search, "SKETCH", sketch or 1)
    vectors = unit(np.random.default_rng(0), 700, 24, spread=spread)
    scan = Scan(vectors, sketched=sketch is not None)

    for query in vectors[:20]:
        rows, cosines = scan.search(query, 7)
        truth = vectors.astype(np.float64) @ query.astype(np.float64)
        kth = np.sort(truth)[-7]
        np.testing.assert_allclose(cosines, truth[rows], atol=1e-6)
        assert len(set(rows.tolist())) == 7
        assert truth[rows].min() >= kth - 2e-7  # float32 may exchange rows that it cannot tell apart
        assert (np.diff(cosines) <= 0).all()


def test_a_product_of_sketches_is_never_less_than_the_cosine(monkeypatch):
    """For all pairs, whatever is left out; with all directions it is the cosine."""
    rng = np.random.default_rng(5)
    vectors = unit_rows((rng.standard_normal((200, 16)) * 0.8 ** np.arange(16)).astype(np.float32))
    for size in (2, 8, 16):
        monkeypatch.setattr(search, "SKETCH", size)
        sketch = Sketch(vectors)
        rows = sketch.of_rows(vectors)
        for query in vectors[:30]:
            wanted, constant = sketch.of_query(query)
            slack = rows @ wanted + constant - vectors @ query
            assert slack.min() >= -2e-6
            assert size < 16 or slack.max() < 2e-6


def test_sketches_spare_nearly_all_rows_of_features_with_main_directions(monkeypatch):
    """Of 20,000 rows whose directions fade as those of networks do, none is judged in full beyond the first reach."""
    rng = np.random.default_rng(6)
    vectors = unit_rows((1 + rng.standard_normal((20_000, 64)) / np.arange(1, 65)).astype(np.float32))
    monkeypatch.setattr(search, "SKETCH", 32)
    monkeypatch.setattr(search, "MOST_JUDGED", 1000)
    monkeypatch.setattr(search, "_nearest", None)  # nobody may judge all

    scan = Scan(vectors, sketched=True)

    for query in vectors[:10]:
        assert set(scan.search(query, 5)[0].tolist()) == set(np.argsort(-(vectors @ query))[:5].tolist())


def test_equal_vectors_come_in_the_order_of_their_rows():
    """Fifty copies of one: no row is lost or doubled, the first come first."""
    vectors = np.tile(unit(np.random.default_rng(1), 1, 8), (50, 1))

    rows, cosines = Scan(vectors).search(vectors[0], 5)

    assert rows.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_two_kinds_of_places_find_their_own_kind(tmp_path):
    """Two classes in two directions: the nearest of each are of its class."""
    rng = np.random.default_rng(2)
    forest, city = unit(rng, 20, 16, spread=0.2), unit(rng, 20, 16, spread=0.2)
    likeness = Likeness(make_embeddings(tmp_path / "e.parquet", np.concatenate([forest, city])))

    for i in range(40):
        found = likeness.like(f"{i:07d}", k=19)
        assert {int(row.location) < 20 for row in found} == {i < 20}
        assert f"{i:07d}" not in {row.location for row in found}


def test_dates_of_the_same_place_are_told_apart(tmp_path):
    """Own dates are left out unless asked for; another place comes once, by its nearest date."""
    vectors = np.array([[1, 0], [1, 0.01], [1, 0.1], [1, 0.3], [0, 1], [0.1, 1]], np.float32)
    names = ["a", "a", "b", "b", "c", "c"]
    likeness = Likeness(make_embeddings(tmp_path / "e.parquet", vectors, locations=names, seasons=[0, 1] * 3))

    others = likeness.like("a", season=0, k=9)
    every = likeness.like("a", season=0, k=9, by_place=False, own=True)

    assert [(row.location, row.season) for row in others] == [("b", 0), ("c", 1)]
    assert [row.row for row in every] == [1, 2, 3, 5, 4]
    assert others[0].similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-6)
    np.testing.assert_allclose(likeness.own_similarities("a"), [[1, 0.99995], [0.99995, 1]], atol=1e-6)


def test_no_cosine_is_more_than_one(tmp_path):
    """Of float32 unit vectors products of equal ones round to more."""
    vectors = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    vectors = np.concatenate([vectors, vectors])
    names = [f"{i % 64:02d}" for i in range(128)]
    likeness = Likeness(make_embeddings(tmp_path / "e.parquet", vectors, locations=names, seasons=[0] * 64 + [1] * 64))
    assert (likeness.vectors @ likeness.vectors.T).max() > 1, "or the case shows nothing"

    assert max(likeness.own_similarities(name).max() for name in names) <= 1
    assert nearest_places(likeness.vectors, np.arange(128), 3)[1].max() <= 1


def test_the_search_goes_on_until_it_has_enough_places(tmp_path):
    """A place with many near dates does not use up the answer."""
    near = np.stack([np.array([1, i * 1e-3]) for i in range(40)])
    far = np.stack([np.array([0.2 * i, 1.0]) for i in range(6)])
    vectors = np.concatenate([near, far]).astype(np.float32)
    names = ["a"] * 20 + ["b"] * 20 + list("cdefgh")
    likeness = Likeness(
        make_embeddings(tmp_path / "e.parquet", vectors, locations=names, seasons=[*range(40), *[0] * 6])
    )

    assert [row.location for row in likeness.like("a", k=7)] == ["b", "h", "g", "f", "e", "d", "c"]


def test_neighbours_of_all_are_those_of_each(monkeypatch):
    """In blocks smaller than the set, groups left out; what is missing is -1."""
    monkeypatch.setattr(search, "BLOCK", 7)
    vectors, groups = unit(np.random.default_rng(3), 30, 6), np.repeat(np.arange(10), 3)

    rows, cosines = nearest_places(vectors, groups, 4)

    truth = vectors @ vectors.T
    truth[groups[:, None] == groups] = -2
    np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1)[:, :4])
    np.testing.assert_allclose(cosines, -np.sort(-truth, axis=1)[:, :4], atol=1e-6)
    rows, cosines = nearest_places(vectors[:4], np.array([0, 0, 0, 1]), 3)
    assert rows.tolist()[0] == [3, -1, -1]
    assert cosines.tolist()[0][1:] == [-1, -1]


def test_a_place_is_the_mean_of_its_dates():
    """Of unit vectors, whatever their order, at length 1."""
    vectors = np.array([[1, 0], [0, 1], [0, 1]], np.float32)

    np.testing.assert_allclose(
        mean_by_place(vectors, np.array([1, 0, 1])), [[0, 1], [np.sqrt(0.5), np.sqrt(0.5)]], atol=1e-6
    )


def test_what_cannot_be_asked_is_refused(tmp_path):
    """No such place, date or number."""
    likeness = Likeness(make_embeddings(tmp_path / "e.parquet", np.eye(3, dtype=np.float32)))

    with pytest.raises(LocationMissing, match="no embedding of 'x'"):
        likeness.like("x")
    with pytest.raises(ConfigInvalid, match="season 3"):
        likeness.like("0000000", season=3)
    with pytest.raises(ConfigInvalid, match="0 neighbours"):
        likeness.like("0000000", k=0)


def test_vectors_of_zeros_are_told_and_left_out_of_all_answers(tmp_path, caplog):
    """A blank image takes nothing from the others: no neighbour, even of opposites; its other date stands for it."""
    vectors = np.array([[0, 0], [1, 0.1], [1, 0], [-1, 0], [-1, 0.2], [0, 0], [0, 0]], np.float32)
    names = ["a", "a", "b", "c", "d", "e", "e"]
    embeddings = make_embeddings(tmp_path / "z.parquet", vectors, locations=names, seasons=[0, 1, 0, 0, 0, 0, 1])
    likeness = Likeness(embeddings)

    assert [row.location for row in likeness.like("b", k=9)] == ["a", "d", "c"]
    assert [row.location for row in likeness.like("a", k=9)] == ["b", "d", "c"]
    assert likeness.like_vector(likeness.vectors[0]) == []
    with pytest.raises(SampleInvalid, match="e has a vector of zeros"):
        likeness.like("e")
    with pytest.raises(SampleInvalid, match="a at season 0 has a vector of zeros"):
        likeness.like("a", season=0)
    means = mean_by_place(embeddings.vectors(unit=True), embeddings.place_of)
    rows, cosines = nearest_places(means, np.arange(5), 4)
    assert rows.tolist()[1:3] == [[0, 3, 2, -1], [3, 0, 1, -1]]
    assert rows[4].tolist() == [-1] * 4
    assert cosines[4].tolist() == [-1] * 4
    told = "3 of 7 rows are vectors of zeros, which are like nothing and left out: a season 0, e season 0, e season 1"
    assert caplog.messages == [f"{embeddings.path}: {told}"]
