# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import datetime as dt
import io
import pickle

import numpy as np
import pytest
from PIL import Image as Pillow
from report_records import knn_row, score_row, step_row, write_features, write_lines, write_run

from ssl4eo.errors import SourceInvalid
from ssl4eo.report.curves import curves_figure, smooth, untrained_level
from ssl4eo.report.projection import (
    MAX_POINTS,
    Cloud,
    Features,
    cloud,
    project,
    projection_figure,
    read_features,
    subset,
)
from ssl4eo.report.records import Log, read_log, read_run
from ssl4eo.report.style import DPI, png
from ssl4eo.report.table import Summary, results_table
from ssl4eo.report.task_figures import spread_of, task_figure
from ssl4eo.report.teaser import place_words, stretch, teaser_figure, teaser_rows
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import modality


def _size(content):
    with Pillow.open(io.BytesIO(content)) as picture:
        return picture.size


def _texts(figure):
    own = [text.get_text() for text in figure.texts]
    return own + [text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts)]


def _image(name, season, *, offset=0, size=24):
    random = np.random.default_rng(season)
    known = modality(name)
    pixels = {
        r: random.uniform(100, 1500, (len(b), size * 10 // r, size * 10 // r)) + offset for r, b in known.groups.items()
    }
    if name == "S1GRD":
        pixels = {10: random.normal(-12, 3, (2, size, size))}
    return Image(
        name,
        {r: values.astype(known.dtype) for r, values in pixels.items()},
        time=dt.datetime(2021, 1 + 3 * season, 5, tzinfo=dt.UTC),
        offset=offset,
    )


def _sample(*names, seasons=4):
    return Sample(Location("0000007", 11.5, 48.1), {n: tuple(_image(n, s) for s in range(seasons)) for n in names})


@pytest.mark.parametrize(("names", "num_rows"), [(("S1GRD", "S2L2A", "S2L1C"), 4), (("S1GRD",), 1), (("S2L1C",), 2)])
def test_the_teaser_has_a_tile_for_every_row_and_season(names, num_rows):
    """Modalities that a sample lacks are left out; near infrared adds a row to optical ones."""
    figure = teaser_figure(_sample(*names), synthetic=True)

    assert len(figure.axes) == 4 * num_rows
    assert any("January 2021" in text for text in _texts(figure))
    assert any("2021-10-05" in text for text in _texts(figure))
    assert _size(png(figure)) == pytest.approx(DPI * figure.get_size_inches(), abs=1)


def test_a_season_without_a_time_is_named_by_its_number_from_0():
    """The number that `--season` takes."""
    images = tuple(dataclasses.replace(_image("S2L2A", season), time=None) for season in range(2))

    texts = _texts(teaser_figure(Sample(Location("7"), {"S2L2A": images}), synthetic=True))

    assert [text for text in texts if text.startswith("season")] == ["season 0", "season 1"]


def test_the_teaser_says_synthetic_or_whose_data_it_shows():
    """The picture carries its origin even when it is copied out of the report."""
    sample = _sample("S2L2A")

    made, seen = (_texts(teaser_figure(sample, synthetic=flag)) for flag in (True, False))

    assert any("synthetic pixels: no satellite saw them" in text for text in made)
    assert not any("synthetic" in text for text in seen)
    assert any("Copernicus Sentinel data" in text for text in seen)


def test_the_rows_of_the_teaser_come_in_the_published_order():
    """Radar, surface, top of atmosphere; then near infrared of the surface."""
    rows = teaser_rows(("S2L1C", "S2L2A", "S1GRD"))

    assert [row.modality for row in rows] == ["S1GRD", "S2L2A", "S2L1C", "S2L2A"]


def test_seasons_share_one_stretch():
    """A season twice as bright stays brighter: 0 to 100 and 100 to 200 meet at one half."""
    dark = np.linspace(0, 100, 300, dtype=np.float32).reshape(1, 3, 10, 10)

    out = stretch(np.concatenate([dark, dark + 100]), joint=True, percentiles=(0, 100))

    assert out[0].max() == pytest.approx(0.5)
    assert out[1].min() == pytest.approx(0.5)


def test_the_stretch_survives_clouds_holes_and_constants():
    """Bright pixels do not darken the rest, NaN is black, one value everywhere is gray."""
    images = np.linspace(0, 1, 300, dtype=np.float32).reshape(1, 3, 10, 10)
    cloudy = images.copy()
    cloudy[..., :3] = 100
    bright = np.broadcast_to(np.arange(10) < 3, (1, 10, 10))
    holed = images.copy()
    holed[..., 0, 0] = np.nan

    assert stretch(cloudy, joint=True, bright=bright)[..., 3:].max() > 0.9
    assert np.all(stretch(cloudy, joint=True, bright=bright)[..., :3] == 1)
    assert np.all(stretch(holed, joint=False)[..., 0, 0] == 0)
    assert np.all(stretch(np.full_like(images, 7), joint=True) == 0.5)
    assert np.all(stretch(np.full_like(images, np.nan), joint=True) == 0)


def test_the_offset_of_new_baselines_does_not_change_the_colors():
    """Sentinel-2 values with and without +1000 DN look the same side by side."""
    (row, *_) = teaser_rows(("S2L2A",))

    old, new = row.channels(_image("S2L2A", 0)), row.channels(_image("S2L2A", 0, offset=1000))

    np.testing.assert_allclose(old, new, atol=1)  # 1 DN: the values were rounded down to uint16


def test_coordinates_are_shown_for_places_on_earth_only():
    """A synthetic location has coordinates, but there is nothing to find there."""
    location = Location("7", -70.25, -33.4)

    assert place_words(location, synthetic=False) == "location 7 (33.40 S, 70.25 W)"
    assert place_words(location, synthetic=True) == "location 7"


def test_smoothing_keeps_constants_and_leaves_nan_out():
    """A moving mean of a constant is the constant, with and without holes."""
    values = np.array([2.0, np.nan, 2.0, 2.0])

    assert smooth(values, 1).tolist() == [2.0, 2.0, 2.0, 2.0]
    assert np.isnan(smooth(np.array([np.nan]), 3)).all()


@pytest.mark.parametrize(("count", "num_lines"), [(1, 1), (2, 1), (8, 1), (9, 2), (200, 2)])
def test_a_mean_is_drawn_of_three_windows_at_least(tmp_path, count, num_lines):
    """Of two steps it would be a flat line over a rising loss: the values alone are drawn, and strong."""
    loss = [1.0 + step for step in range(count)]
    rows = (step_row(step, value, images_per_second=value, waiting_share=0.1) for step, value in enumerate(loss))
    write_lines(tmp_path / "log.jsonl", rows)

    figure = curves_figure(read_log(tmp_path / "log.jsonl"), synthetic=True)

    for title in ("Loss", "Images per second"):
        (axes,) = (axes for axes in figure.axes if axes.get_title(loc="left") == title)
        assert len(axes.lines) == num_lines
        assert list(axes.lines[0].get_ydata()) == loss
        assert axes.lines[-1].get_alpha() is None
    (waits,) = (axes for axes in figure.axes if axes.get_ylabel().startswith("waiting"))
    assert len(waits.lines) == 1


def test_curves_draw_what_is_there_and_say_what_is_not(tmp_path):
    """An empty log gives six panels of words, not an empty white figure."""
    write_lines(tmp_path / "log.jsonl", [knn_row(0, 0.4), *(step_row(i, float("nan")) for i in range(3))])

    full, bare = curves_figure(read_log(tmp_path / "log.jsonl"), synthetic=True), curves_figure(Log(), synthetic=False)

    assert _size(png(full)) == _size(png(bare)) == (int(11 * DPI), int(9 * DPI))
    assert "synthetic data" in _texts(full)
    assert "synthetic data" not in _texts(bare)
    assert {"no steps recorded", "no k-NN values recorded", "no feature statistics recorded"} <= set(_texts(bare))


def test_one_epoch_is_drawn_with_room_around_it(tmp_path):
    """Markers lie within their panel, the axis names the epoch alone, no grid line strikes the legend through."""
    probe = {"kind": "probe", "step": 10, "epoch": 1.0, "accuracy": 0.55, "task": "scenes", "protocol": "linear"}
    write_lines(tmp_path / "log.jsonl", [knn_row(10, 0.62), probe, step_row(10, 2.5, rankme=7.0)])

    figure = curves_figure(read_log(tmp_path / "log.jsonl"), synthetic=True)

    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 6
    for axes in panels:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert low < min(line.get_ydata())
            assert max(line.get_ydata()) < high - 0.05 * (high - low)
        if axes.get_xlabel():
            assert [text.get_text() for text in axes.get_xticklabels()] == ["1"]
    std, rank = (axes for axes in panels if axes.get_ylabel().startswith(("standard", "effective")))
    heights = [axes.transData.transform((1, axes.lines[0].get_ydata()[0]))[1] for axes in (std, rank)]
    assert abs(heights[0] - heights[1]) > 10  # neither hides the other [px]
    (legend,) = (axes.get_legend() for axes in panels if axes.get_legend())
    assert legend.get_frame_on()


def test_the_same_records_give_the_same_picture(tmp_path):
    """Figures carry no date and no random jitter."""
    write_lines(tmp_path / "log.jsonl", [knn_row(0, 0.4), knn_row(5, 0.6), *(step_row(i) for i in range(9))])
    log = read_log(tmp_path / "log.jsonl")

    assert png(curves_figure(log, synthetic=True)) == png(curves_figure(log, synthetic=True))


def test_names_with_dollar_signs_are_drawn_as_they_are(tmp_path):
    """A task name is not a formula."""
    write_lines(
        tmp_path / "log.jsonl", [knn_row(0, 0.4, "$\\frac{x$"), knn_row(1, 0.5, "b$"), knn_row(1, 0.5, "$\\frac{x$")]
    )
    names = ("$\\frac{x$", "b_$")
    features = Features(np.zeros((8, 2), np.float32), np.zeros(8, np.int64), names)

    assert png(curves_figure(read_log(tmp_path / "log.jsonl"), synthetic=False))
    assert png(
        projection_figure(
            [Cloud("$\\frac{x$", features, np.zeros((8, 2), np.float32), features.labels)], synthetic=False
        )
    )


def test_the_untrained_level_is_this_run_at_step_0(tmp_path):
    """The same protocol is the best comparison; without it and without scores there is none."""
    write_lines(tmp_path / "log.jsonl", [knn_row(0, 0.4), knn_row(5, 0.6), knn_row(5, 0.7, "other")])
    log = read_log(tmp_path / "log.jsonl")

    level = untrained_level(log, [], "scenes")

    assert level is not None
    assert level.value == 0.4
    assert untrained_level(log, [], "other") is None


def test_without_a_reading_at_step_0_the_untrained_scores_are_the_level(tmp_path):
    """A log that calls its task `validation` is compared with the only scored task, and the label says so."""
    write_lines(tmp_path / "log.jsonl", [knn_row(5, 0.6, "validation")])
    log = read_log(tmp_path / "log.jsonl")

    def rows(*tasks):
        scores = [score_row(0.25 * (seed + 1), seed=seed, task=task) for task in tasks for seed in range(2)]
        return results_table([read_run(write_run(tmp_path / "-".join(tasks), scores=scores))])

    level = untrained_level(log, rows("scenes"), "validation")

    assert level is not None
    assert level.value == 0.375
    assert "untrained, test part of scenes, 2 seeds" in level.label
    assert untrained_level(log, rows("scenes", "eurosat"), "validation") is None


def test_points_are_drawn_once_and_at_most_two_thousand():
    """The choice is fixed, sorted and without repetition."""
    chosen = subset(5000)

    assert len(chosen) == len(set(chosen.tolist())) == MAX_POINTS
    assert np.array_equal(chosen, subset(5000))
    assert np.array_equal(subset(7), np.arange(7))


def test_groups_that_are_apart_stay_apart_in_the_plane(tmp_path):
    """Three tight classes: every point's nearest neighbor is of its own class."""
    features = read_features(write_features(tmp_path / "f.npz", count=30, spread=0.01))

    points = project(features.values)

    assert points is not None
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag([np.inf] * 30)
    assert np.array_equal(features.labels[distances.argmin(axis=1)], features.labels)
    assert np.array_equal(points, project(features.values))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((20, 4)), "collapsed"),
        (np.eye(4), "4 points are too few"),
        (np.full((20, 4), np.nan), "not finite"),
    ],
)
def test_features_that_cannot_be_projected_say_why(values, reason):
    """A collapsed network gets an honest panel."""
    features = Features(values.astype(np.float32), np.zeros(len(values), np.int64), ("a",))

    item = cloud("Pre-trained", features)
    figure = projection_figure([cloud("Untrained", None, "no features recorded"), item], synthetic=True)

    assert item.points is None
    assert any(reason in text for text in _texts(figure))
    assert any("no features recorded" in text for text in _texts(figure))
    assert _size(png(figure))[0] == int(11 * DPI)


def test_a_features_file_that_lies_is_refused(tmp_path):
    """Missing arrays, labels out of range, shapes that differ, and pickles."""
    path = tmp_path / "f.npz"
    values, labels, classes = np.zeros((4, 2), np.float32), np.zeros(4, np.int64), np.array(["a"])
    for arrays, words in (
        ({"features": values}, "no array labels classes"),
        ({"features": values, "labels": labels + 3, "classes": classes}, "labels 3 to 3 for 1 classes"),
        ({"features": values, "labels": labels[:2], "classes": classes}, "(N, D), whole numbers (N,)"),
        ({"features": values, "labels": labels, "classes": np.array([{}], dtype=object)}, "not a features file"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(SourceInvalid) as caught:
            read_features(path)
        assert words in str(caught.value)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(SourceInvalid, match="not a features file"):
        read_features(path)


def test_lines_through_dots_are_intervals_of_one_score_and_deviations_of_several():
    """Of 0.4 and 0.6 the deviation is sqrt(0.02); one score has its interval, or none."""
    assert spread_of(Summary((0.5,), (0,), 1, (0.45, 0.55))) == pytest.approx((45, 55))
    assert spread_of(Summary((0.4, 0.6), (0, 1), 2)) == pytest.approx((50 - 2**0.5 * 10, 50 + 2**0.5 * 10))
    assert spread_of(Summary((0.5,), (0,), 1)) is None


def test_a_task_figure_has_every_value_and_network(tmp_path):
    """Untrained and pre-trained, by each protocol; names may hold what matplotlib would take for a formula."""
    scores = [score_row(0.412, seed=0), score_row(0.734, pretrained=True, checkpoint="runs/a_$b$", protocol="linear")]
    rows = results_table([read_run(write_run(tmp_path / "run", scores=scores))])

    figure = task_figure(rows)

    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {"41.2", "73.4"}
    labels = " ".join(label.get_text() for label in axes.get_yticklabels())
    assert "k-NN, accuracy" in labels
    assert "linear probe, accuracy" in labels
    assert png(figure)[:4] == b"\x89PNG"
