# SPDX-License-Identifier: Apache-2.0
"""The file read as a stream, outliers, the plane, two networks compared, the command."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_embeddings import make_embeddings

from ssl4eo.archive.reader import open_archive
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid
from ssl4eo.gallery.likeness import LikenessFiles
from ssl4eo.likeness.compare import compare, linear_cka, overlap_by_row
from ssl4eo.likeness.embeddings import open_embeddings, unit_rows
from ssl4eo.likeness.names import network_names
from ssl4eo.likeness.outliers import outlier_scores
from ssl4eo.likeness.plane import plane
from ssl4eo.likeness.prepared import prepare
from ssl4eo.likeness.search import nearest_places
from ssl4eo.likeness.table import GROUP_ROWS
from ssl4eo.packing.pack import pack


def drawn(count: int, width: int, seed: int = 0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def test_vectors_stream_in_row_groups(tmp_path):
    """No group of the file is larger than GROUP_ROWS, and batches come in order and whole."""
    vectors = drawn(GROUP_ROWS + 10, 4)
    embeddings = make_embeddings(tmp_path / "e.parquet", vectors)

    starts, batches = zip(*embeddings.batches(1000), strict=True)

    np.testing.assert_array_equal(np.concatenate(batches), vectors)
    assert list(starts) == [0, *np.cumsum([len(batch) for batch in batches])[:-1]]
    assert max(map(len, batches)) <= 1000
    metadata = pq.read_metadata(tmp_path / "e.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [GROUP_ROWS, 10]
    np.testing.assert_allclose(embeddings.points[:3], [[0, 0], [1, 0], [2, 0]])


def test_what_is_no_file_of_embeddings_is_told(tmp_path):
    """Nothing, text, foreign Parquet, a damaged page, a value that is not finite: each has its message."""
    (tmp_path / "t.parquet").write_text("not parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "f.parquet")
    with pytest.raises(DataMissing):
        open_embeddings(tmp_path / "none.parquet")
    with pytest.raises(SourceInvalid, match="no Parquet file"):
        open_embeddings(tmp_path / "t.parquet")
    with pytest.raises(SourceInvalid, match="no record of ours"):
        open_embeddings(tmp_path / "f.parquet")

    vectors = drawn(300, 64)
    path = make_embeddings(tmp_path / "e.parquet", vectors).path
    content = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(0).column(9).data_page_offset + 5000
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(SourceInvalid, match="cannot be read"):
        open_embeddings(path).vectors()
    vectors[7, 3] = np.nan
    with pytest.raises(SourceInvalid, match=r"row 7 .* \(0000007\) is not finite"):
        make_embeddings(tmp_path / "n.parquet", vectors).vectors()


def test_a_file_that_answers_nothing_or_wrongly_is_refused_at_opening(tmp_path, capsys):
    """No rows, a row twice, vectors of another length than the network's: before any vector is read, in one line."""
    vectors = drawn(4, 8)
    with pytest.raises(SourceInvalid, match="holds no rows; expected one location at least: write it anew"):
        make_embeddings(tmp_path / "none.parquet", vectors[:0])
    with pytest.raises(SourceInvalid, match="holds b season 1 of S2L1C 2 times; expected each location, season"):
        make_embeddings(tmp_path / "twice.parquet", vectors, locations=["a", "b", "b", "b"], seasons=[0, 0, 1, 1])
    with pytest.raises(SourceInvalid, match="holds vectors of 8 values; expected 512, as its record says"):
        make_embeddings(tmp_path / "short.parquet", vectors, features=512)
    make_embeddings(tmp_path / "whole.parquet", vectors, features=8)

    for question in (["0000000"], ["--outliers"], ["--compare", str(tmp_path / "whole.parquet")]):
        assert main(["like", str(tmp_path / "none.parquet"), *question]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_place_like_no_other_has_the_highest_score():
    """A group and one vector apart from it; hand-worked scores of three."""
    vectors = unit_rows(np.concatenate([drawn(30, 3) + np.array([10, 0, 0]), [[0, 10, 0]]]).astype(np.float32))

    scores = outlier_scores(nearest_places(vectors, np.arange(31), 5)[1])

    assert int(scores.argmax()) == 30
    three = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(outlier_scores(nearest_places(three, np.arange(3), 2)[1]), [0.7, 0.6, 0.3], atol=1e-6)


@pytest.mark.parametrize("fit", [10**6, 80])
def test_the_plane_keeps_kinds_together_and_is_the_same_each_time(fit):
    """Two groups in 20 dimensions: nearly all nearest neighbours in the plane are of the own group, sampled or not."""
    vectors = unit_rows(np.concatenate([drawn(70, 20) + 3, drawn(70, 20, 1) - 3]))
    kinds = np.repeat([0, 1], 70)

    points = plane(vectors, fit=fit)

    apart = ((points[:, None] - points) ** 2).sum(axis=2) + 10 * np.eye(140)
    assert (kinds[apart.argmin(axis=1)] == kinds).mean() > 0.97
    assert np.abs(points).max() <= 1
    np.testing.assert_array_equal(plane(vectors, fit=fit), points)


def test_few_or_equal_places_have_a_plane_too():
    """Too few for t-SNE, or all the same: on a circle, finite."""
    assert plane(unit_rows(drawn(3, 5))).shape == (3, 2)
    assert np.isfinite(plane(np.tile(unit_rows(drawn(1, 5)), (40, 1)))).all()


def test_a_network_agrees_with_itself_turned_and_not_with_another(tmp_path):
    """A rotation changes neither neighbours nor CKA; unrelated features agree by chance; places are matched by name."""
    one = drawn(60, 8)
    turned = one @ np.linalg.qr(drawn(8, 8, 5))[0].astype(np.float32)
    names, points = [f"{i:07d}" for i in range(60)], [(float(i), 0.0) for i in range(60)]
    first = make_embeddings(tmp_path / "1.parquet", one)
    same = make_embeddings(tmp_path / "2.parquet", turned[::-1], locations=names[::-1], points=points[::-1])
    other = make_embeddings(tmp_path / "3.parquet", drawn(60, 8, 9))

    agreed, strange = compare(first, same, k=5), compare(first, other, k=5)

    assert agreed.overlap == pytest.approx(1)
    assert agreed.cka == pytest.approx(1, abs=1e-5)
    assert strange.overlap < 3 * strange.chance
    assert strange.cka < 0.5
    assert strange.chance == pytest.approx(5 / 59)
    with pytest.raises(ConfigInvalid, match="0 places in both"):
        compare(first, make_embeddings(tmp_path / "4.parquet", one, locations=[f"x{i}" for i in range(60)]))


def test_places_of_the_same_ids_at_other_points_are_not_compared(tmp_path, capsys):
    """Running numbers of two archives; a re-packed archive, and one that shares some places, are compared."""
    vectors, points = drawn(12, 4), [(float(i), 0.0) for i in range(12)]
    first = make_embeddings(tmp_path / "1.parquet", vectors, points=points)
    moved = make_embeddings(tmp_path / "2.parquet", vectors, points=[*points[:11], (11.0, 0.1)])
    unknown = make_embeddings(tmp_path / "3.parquet", vectors, points=[(np.nan, np.nan)] * 12)
    fewer = make_embeddings(tmp_path / "4.parquet", vectors[5:], points=points[5:], locations=first.locations[5:])

    with pytest.raises(SourceInvalid, match=r"1.parquet has location 0000011 at 11.00000, 0.00000; expected 11.00000, "
                       r"0.10000, as in .*2.parquet: embed the same archive"):  # fmt: skip
        compare(first, moved)
    with pytest.raises(SourceInvalid, match="expected no coordinates, as in"):
        compare(first, unknown)
    assert len(compare(first, fewer).places) == 7
    assert main(["like", str(first.path), "--compare", str(moved.path)]) == 1
    assert capsys.readouterr().out == ""


def test_no_neighbours_are_refused_as_such(tmp_path):
    """The places are not at fault."""
    item = make_embeddings(tmp_path / "e.parquet", drawn(44, 3))

    with pytest.raises(ConfigInvalid, match=r"^0 neighbours; expected 1 or more$"):
        compare(item, item, k=0)


def test_networks_of_one_name_are_told_apart(tmp_path, capsys, monkeypatch):
    """By seed, by hash, by file; in full at 80 columns, and in JSON."""
    monkeypatch.setenv("COLUMNS", "80")
    vectors, name = drawn(12, 4), "random.resnet18.s2l1c_s1grd"
    one, two = (make_embeddings(tmp_path / f"{s}.parquet", vectors, name=name, seed=s) for s in (0, 1))
    trained = [make_embeddings(tmp_path / f"{h}.parquet", vectors, name="first", sha256=h * 64) for h in "ab"]
    mean = make_embeddings(tmp_path / "mean.parquet", vectors, name="first", sha256="a" * 64)

    assert network_names([one, two]) == (name, f"{name}, seed 1")
    assert network_names(trained) == ("first, aaaaaaaa", "first, bbbbbbbb")
    assert network_names([trained[0], mean]) == ("first, a.parquet", "first, mean.parquet")
    assert network_names([one, trained[0]]) == (name, "first")
    assert network_names([one, one]) == (name, name)
    assert main(["like", str(one.path), "--compare", str(two.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["first"], told["second"]) == (name, f"{name}, seed 1")
    assert main(["like", str(one.path), "--compare", str(two.path)]) == 0
    assert f"{name}, seed 1" in capsys.readouterr().out


def test_cka_over_features_is_that_over_items():
    """The form that is computed equals the definition by Gram matrices (Kornblith et al. 2019, equation 3)."""
    x, y = drawn(40, 5).astype(np.float64), drawn(40, 7, 3).astype(np.float64)
    y[:, :3] += x[:, :3]
    center = np.eye(40) - 1 / 40
    k, m = center @ x @ x.T @ center, center @ y @ y.T @ center

    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())

    assert linear_cka(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(linear_cka(np.ones((4, 2), np.float32), y[:4].astype(np.float32)))


def test_the_command_answers_in_json(tmp_path, capsys):
    """Neighbours, outliers, a comparison; two questions at once are refused with status 2."""
    path = str(
        make_embeddings(tmp_path / "e.parquet", np.array([[1, 0], [1, 0.1], [0, 1], [0.9, 0.2]], np.float32)).path
    )

    assert main(["like", path, "0000000", "--k", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["location"], row["season"]) for row in found] == [("0000001", 0), ("0000003", 0)]
    assert main(["like", path, "--outliers", "--k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["location"] == "0000002"
    assert main(["like", path, "--compare", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["overlap"] == 1
    assert main(["like", path, "0000000", "--outliers"]) == 2
    assert main(["like", path]) == 2
    assert main(["like", path, "nobody"]) == 1
    assert main(["like", path, "--outliers", "--k", "-1"]) == 2
    assert main(["like", path, "--outliers", "--k", "0"]) == 2


def test_a_single_place_has_no_distance_and_this_is_said(tmp_path, capsys, caplog):
    """JSON without NaN; no empty line."""
    path = str(make_embeddings(tmp_path / "e.parquet", np.ones((1, 2), np.float32), locations=["only"]).path)

    assert main(["like", path, "--outliers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == [{"location": "only", "distance": None}]
    assert "holds a single place" in caplog.text
    assert main(["like", path, "only"]) == 0
    assert capsys.readouterr().out == ""
    assert "it holds no other place" in caplog.text


def test_the_gallery_tells_a_place_without_others_in_json(tmp_path):
    """null, which every browser reads, and no place whose features are zeros."""
    pack(SyntheticPlanet(2, seed=3, num_seasons=1, size=24, modalities=("S2L1C",)), tmp_path / "a.zarr",
         statistics=False)  # fmt: skip
    archive = open_archive(tmp_path / "a.zarr")
    points = list(archive.locations.geometry.get_coordinates().itertuples(index=False, name=None))
    vectors = np.array([[1, 2], [0, 0]], np.float32)
    make_embeddings(tmp_path / "e.parquet", vectors, locations=archive.ids, points=points)

    told = json.loads(LikenessFiles(archive, [tmp_path / "e.parquet"]).summary(), parse_constant=pytest.fail)

    assert told["sets"][0]["outliers"] == [{"id": archive.ids[0], "distance": None}]


def test_brackets_in_a_name_are_printed(tmp_path, capsys):
    """They are no markup of the table."""
    path = str(make_embeddings(tmp_path / "e.parquet", drawn(5, 3), name="r[red]un").path)

    assert main(["like", path, "--compare", path]) == 0

    assert "r[red]un" in capsys.readouterr().out


def test_places_of_zeros_are_left_out_of_plane_outliers_and_comparisons(tmp_path, capsys):
    """The rest is as if they were not there."""
    vectors = drawn(20, 4)
    whole = make_embeddings(tmp_path / "w.parquet", vectors[:18])
    vectors[18:] = 0
    path = make_embeddings(tmp_path / "e.parquet", vectors).path

    prepared, expected = prepare(open_embeddings(path)), prepare(whole)
    np.testing.assert_array_equal(prepared.plane[:18], expected.plane)
    np.testing.assert_array_equal(prepared.outliers[:18], expected.outliers)
    assert np.isnan(prepared.plane[18:]).all()
    assert np.isnan(prepared.outliers[18:]).all()
    assert len(compare(open_embeddings(path), open_embeddings(path)).places) == 18
    assert main(["like", str(path), "--outliers", "--k", "30", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 18
    assert overlap_by_row(np.array([[-1, -1]]), np.array([[-1, -1]])).tolist() == [0]
