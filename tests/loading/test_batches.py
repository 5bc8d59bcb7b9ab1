# SPDX-License-Identifier: Apache-2.0
"""Batches of views: the same whatever makes them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal

import numpy as np
import pytest
import torch

from forked import CONTEXT, run_forked
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import ConfigInvalid, SampleInvalid, ShardCorrupt, WorkerLost, WriteFailed
from ssl4eo.files import whole_or_told
from ssl4eo.form import Form
from ssl4eo.loading import batches
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.loader import make_loader, telling_lost_workers
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.recipes.views import published_view
from ssl4eo.sensors import modality
from ssl4eo.views.compose import Renderer, draw_geometry
from ssl4eo.views.config import MultiCrop, PairConfig
from ssl4eo.views.crop import WHOLE
from ssl4eo.views.photometric import apply_photometric_
from ssl4eo.views.rng import sample_rng


class Pixels:
    """A small source in memory whose values tell item and season."""

    title, synthetic, num_seasons, identity = "test", True, 4, "0"
    form = Form.native("S2L1C")
    contract = stored("S2L1C")
    broken: int | None = None
    blank: int | None = None
    deadly: int | None = None

    def __init__(self, count=8):
        """Hold `count` items."""
        self.count = count
        self.asked = []

    def __len__(self):
        """Count them."""
        return self.count

    def value(self, index, season):
        """Give the value of an image's pixels."""
        return 0 if index == self.blank else 100 * index + season + 1

    def id_of(self, index):
        """Name an item."""
        return f"{index:07d}"

    def pixels(self, index, season, *, resolutions=None):
        """Give constant images of value 100 index + season + 1."""
        self.asked.append((index, season))
        if index == self.broken:
            raise ShardCorrupt("broken chunk", location=str(index))
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return {
            r: np.full((len(b), 240 // r, 240 // r), self.value(index, season), np.uint16)
            for r, b in modality("S2L1C").groups.items()
            if r in resolutions
        }


class Noisy(Pixels):
    """Random pixels, the same for an item and season."""

    def pixels(self, index, season, *, resolutions=None):
        """Give uint16 up to reflectance 1.2, so that scaling clips."""
        rng = np.random.default_rng((index, season))
        groups = modality("S2L1C").groups.items()
        return {r: rng.integers(1, 12_000, (len(b), 240 // r, 240 // r)).astype(np.uint16) for r, b in groups}


class Cornered(Pixels):
    """Images that hold data in a part of each side, from the upper left corner, and zeros elsewhere."""

    share = 0.5

    def pixels(self, index, season, *, resolutions=None):
        """Cut the images of a constant."""
        whole = super().pixels(index, season, resolutions=resolutions)
        for image in whole.values():
            side = round(self.share * image.shape[1])
            image[:, side:], image[:, :, side:] = 0, 0
        return whole


class Radar(Pixels):
    """Decibels."""

    form = Form.native("S1GRD")
    contract = stored("S1GRD")

    def pixels(self, index, season, *, resolutions=None):
        """Give -12 dB, or the fill value."""
        return {10: np.full((2, 24, 24), 0 if index == self.blank else -12, np.float32)}


class RadarOf8Bits(Pixels):
    """Steps of the published 8-bit form."""

    form = Form.gridded("S1GRD", scaling="uint8_sigma2:published_50k")
    contract = stored("S1GRD", scaling="uint8_sigma2:published_50k")

    def pixels(self, index, season, *, resolutions=None):
        """Give a gray value, or zeros."""
        return {10: np.full((2, 24, 24), 0 if index == self.blank else 90, np.uint8)}


def strong(size=16, **changes):
    """Make a view in which every photometric change happens."""
    view = published_view(size)
    options = {"gray_probability": 0.5, "solarize_probability": 0.5, "drop_bands": (0, 3), "band_gain": 0.2}
    return dataclasses.replace(view, photometric=dataclasses.replace(view.photometric, **(options | changes)))


def dataset(source, pairing="augment", seed=0):
    """Make two 16 px views of a source."""
    view = published_view(16)
    return ViewDataset(source, PairConfig(pairing, view), contract=stored("S2L1C"), seed=seed)


def load(source, *, workers=0, first=0, steps=4, seed=0):
    """Load some batches."""
    order = ResumableBatches(Order(len(source), 4, seed), first_step=first, num_steps=steps)
    return list(make_loader(dataset(source, seed=seed), order, num_workers=workers, pin=False))


def equal(first, second):
    """Say whether two batches are the same in everything."""
    return all(
        torch.equal(a, b)
        for a, b in zip(
            (*first.views, *first.photometric, first.index, first.seasons),
            (*second.views, *second.photometric, second.index, second.seasons),
            strict=True,
        )
    )


def test_batch_has_views_in_the_dtype_of_the_source():
    """16 bits travel, not float32."""
    batch = load(Pixels())[0]

    assert [tuple(v.shape) for v in batch.views] == [(4, 13, 16, 16)] * 2
    assert {v.dtype for v in batch.views} == {torch.uint16}
    assert [tuple(p.shape) for p in batch.photometric] == [(4, 4 + 2 * 13)] * 2


def test_pixels_belong_to_the_item_and_season_that_the_batch_names():
    """Every view shows its item at its season."""
    for batch in load(Pixels()):
        for number, view in enumerate(batch.views):
            expected = 100 * batch.index + batch.seasons[:, number] + 1
            assert torch.equal(view[:, 0, 0, 0].long(), expected)


@pytest.mark.parametrize("pairing", ["augment", "distinct", "random", "fixed"])
def test_local_crops_show_one_season(pairing):
    """Ten crops of DINO: each global one has a season of its own, all local ones share a third draw."""
    large, small = published_view(16), published_view(8)
    views = MultiCrop(pairing=pairing, first=large, second=large, local=small, num_local=8)
    source = Pixels()

    batch = ViewDataset(source, views, contract=stored("S2L1C"), seed=0).__getitems__([(0, i) for i in range(8)])

    assert [v.shape[-1] for v in batch.views] == [16] * 2 + [8] * 8
    assert (batch.seasons[:, 2:] == batch.seasons[:, 2:3]).all()
    draws = {"augment": {1, 2, 3}, "distinct": {3}, "random": {1}, "fixed": {1}}[pairing]
    assert {len(set(row)) for row in batch.seasons.tolist()} <= draws
    for number, view in enumerate(batch.views):
        for i, season in enumerate(batch.seasons[:, number].tolist()):
            assert (view[i] == source.value(i, season)).all()


def test_only_needed_seasons_are_read():
    """Two views of one season cost one read, of two seasons two."""
    source = Pixels()
    batch = dataset(source).__getitems__([(0, i) for i in range(8)])

    assert sorted(source.asked) == sorted({(i, int(s)) for i, row in enumerate(batch.seasons) for s in row})


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    """The same views come from any number of processes."""
    alone, shared = load(Pixels()), load(Pixels(), workers=workers)

    assert all(equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_resumed_loading_sees_what_it_would_have_seen():
    """From step 2 on, the batches are the same."""
    whole, rest = load(Pixels()), load(Pixels(), first=2)

    assert all(equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_loading_leaves_the_global_generator_alone():
    """A resumed method must find torch's generator where it was."""
    before = torch.get_rng_state()
    load(Pixels())

    assert torch.equal(before, torch.get_rng_state())


def test_epochs_and_seeds_give_other_views():
    """An item looks different in each epoch and run."""
    first, second, third = (dataset(Pixels(), seed=s).__getitems__([(e, 3)]) for s, e in ((0, 0), (0, 1), (1, 0)))

    assert not torch.equal(first.photometric[0], second.photometric[0])
    assert not torch.equal(first.photometric[0], third.photometric[0])


def test_fault_in_a_worker_says_which_location():
    """The error of a worker process arrives with its class and data."""
    source = Pixels()
    source.broken = 2

    with pytest.raises(ShardCorrupt, match="broken chunk"):
        load(source, workers=1)


def test_batch_tells_what_reading_and_rendering_cost(monkeypatch):
    """On a clock of ticks: a read is one tick for each item, all the rest is rendering."""
    import itertools

    ticks = itertools.count()
    monkeypatch.setattr(batches.time, "perf_counter", lambda: float(next(ticks)))

    batch = dataset(Pixels()).__getitems__([(0, 1), (0, 2), (0, 3)])

    assert batch.seconds.tolist() == [3.0, 4.0]  # marks at 0 (start), 1-2, 3-4, 5-6 (reads), 7 (end)
    assert all(part.seconds.tolist() == [0, 0] for part in batch.split(3))


@pytest.mark.parametrize("workers", [0, 1])
def test_seconds_travel_with_the_batch(workers):
    """Also from another process."""
    assert all((batch.seconds > 0).all() for batch in load(Pixels(), workers=workers))


def test_fault_of_a_killed_worker_says_which_location():
    """A worker killed by the system, as when memory ends, leaves the name of what it was reading."""
    source = Pixels()
    source.deadly = 2

    with pytest.raises(WorkerLost, match="0000002") as caught:
        load(source, workers=1)

    assert caught.value.where["locations"] == ["0000002"]


LOST = RuntimeError("DataLoader worker (pid 77) is killed by signal: Killed. ")


def lost_in_a_write(path):
    """Hear of a dead worker while a file is written: it came out as a full disk."""
    with whole_or_told(path, (RuntimeError,)):
        raise LOST


def lost_before_another_error(path):
    """Hear of it where what is underway then fails to end, as torch's writer of archives does."""
    with contextlib.ExitStack() as stack:
        stack.callback(torch.zeros(1).view, 2)
        raise LOST


@pytest.mark.parametrize("where", [lost_in_a_write, lost_before_another_error])
def test_death_of_a_worker_is_told_as_such_in_the_middle_of_anything(tmp_path, where):
    """Torch raises it in a signal handler, wherever the run is at that moment."""
    with (
        pytest.raises(WorkerLost, match=r"Killed while it waited; .*: resume; .* engine\.num_workers$"),
        telling_lost_workers(dataset(Pixels())),
    ):
        where(tmp_path / "a.pt")

    assert not list(tmp_path.iterdir())


def test_other_errors_stay_what_they_are(tmp_path):
    """A disk that is full is no dead worker."""
    with (
        pytest.raises(WriteFailed),
        telling_lost_workers(dataset(Pixels())),
        whole_or_told(tmp_path / "a.pt"),
    ):
        raise OSError(28, "No space left on device")


class Signaled(Pixels):
    """A source whose reader gets signals, one at each read of the third item."""

    signals = ()

    def pixels(self, index, season, *, resolutions=None):
        """Signal, then give one."""
        if index == 2 and self.signals:
            number, *self.signals = self.signals
            os.kill(os.getpid(), number)
        return super().pixels(index, season, resolutions=resolutions)


def test_worker_outlives_what_asks_the_run_to_stop():
    """SIGUSR1 and SIGTERM to a worker: its run alone decides, and all batches come as if nothing had happened."""
    source = Signaled()
    source.signals = (signal.SIGTERM, signal.SIGUSR1)
    expected = load(Pixels(), workers=0)

    found = load(source, workers=1)

    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        assert torch.equal(left.index, right.index)


def test_worker_that_is_told_twice_ends():
    """The first SIGTERM is the run's affair, the second one's own: nobody has to kill a worker that hangs."""
    source = Signaled()
    source.signals = (signal.SIGTERM, signal.SIGTERM)

    with pytest.raises(WorkerLost, match="0000002"):
        load(source, workers=1)


class Holding(Pixels):
    """A source that holds the end of a pipe, in the run and in each of its workers."""

    end = None


def be_killed_with_workers(end, method):
    """Be a run that is killed while its workers load."""
    torch.multiprocessing.set_start_method(method, force=True)
    source = Holding()
    source.end = end
    order = ResumableBatches(Order(8, 4, 0), first_step=0, num_steps=50)
    batches = make_loader(dataset(source), order, num_workers=2, pin=False)
    next(batches)
    end.send("loading")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_end_with_the_run(tmp_path, method):
    """A run that is killed leaves no worker: one that is there keeps the end of the pipe from being seen.

    By fork a worker's parent is the run; from Python 3.14 on it is a server, which lives as long as its workers.
    """
    ours, theirs = CONTEXT.Pipe(duplex=False)

    done = run_forked(be_killed_with_workers, theirs, method, folder=tmp_path)
    theirs.close()

    assert done.returncode == -signal.SIGKILL, done.stderr
    assert ours.recv() == "loading"
    assert ours.poll(60), "a worker is still there"
    with pytest.raises(EOFError):
        ours.recv()


def test_both_placements_give_the_same_views():
    """Finished on the worker, one by one, or in one batch afterwards: equal to float32 rounding."""
    source, items = Noisy(), [(0, i) for i in range(8)]
    adapter = Adapter(source.contract, network_input("S2L1C"))
    options = {"contract": source.contract, "seed": 0, "adapter": adapter}
    views = PairConfig("augment", strong())

    late = ViewDataset(source, views, **options).__getitems__(items)
    early = ViewDataset(source, views, **options, finish=True).__getitems__(items)

    assert (late.finished, early.finished) == (False, True)
    for stored_view, rows, finished in zip(late.views, late.photometric, early.views, strict=True):
        assert finished.dtype == torch.float32
        torch.testing.assert_close(finished, apply_photometric_(adapter(stored_view), rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [Pixels, Radar, RadarOf8Bits])
@pytest.mark.parametrize("speckle", [0.0, 0.5])
def test_blank_view_is_refused_with_its_place(make, speckle):
    """Zeros in every band are no data, in decibels too, and under speckle."""
    source = make()
    source.blank = 3
    if speckle and make is Pixels:
        pytest.skip("no radar")
    view = strong(drop_bands=(0, 0), speckle=speckle)
    data = ViewDataset(source, PairConfig("fixed", view), contract=source.contract, seed=0)

    data.__getitems__([(0, 1)])
    with pytest.raises(SampleInvalid, match="0000003 at season 0"):
        data.__getitems__([(0, 3)])


def cornered(share=0.5, scale=(0.05, 0.1), **options):
    """Make two small crops of images with a corner of data."""
    source = Cornered()
    source.share = share
    view = dataclasses.replace(published_view(16), scale=scale)
    return ViewDataset(source, PairConfig("fixed", view), contract=source.contract, seed=0, **options)


def test_view_of_a_patch_with_nodata_shows_something_and_always_the_same():
    """Windows of a quarter of a side miss a corner of a quarter of the area often; each call, any workers."""
    data, order = cornered(), ResumableBatches(Order(8, 4, 0), first_step=0, num_steps=8)

    alone, again, shared = (list(make_loader(data, order, num_workers=n, pin=False)) for n in (0, 0, 2))

    for first, second, third in zip(alone, again, shared, strict=True):
        assert equal(first, second)
        assert equal(first, third)
        assert all((view.int() != 0).flatten(1).any(dim=1).all() for view in first.views)


def test_view_that_shows_something_is_not_drawn_again():
    """With and without other windows to try: a view that could be made at once has the same pixels and strengths."""
    source, data = Cornered(), cornered()
    view = data._views[0]
    render, num_redrawn = Renderer(source.contract, source.form), 0
    batch = data.__getitems__([(0, i) for i in range(8)])
    for index in range(8):
        rng = sample_rng(0, epoch=0, index=index, stream=1)
        geometry = draw_geometry(rng, view)
        expected = render(source.pixels(index, 0, resolutions=render.resolutions), 16, geometry)
        row = view.photometric.draw(rng, data._sensors)

        assert np.array_equal(batch.photometric[0][index].numpy(), row)
        num_redrawn += not expected.any()
        if expected.any():
            assert np.array_equal(batch.views[0][index].numpy(), expected)
    assert 0 < num_redrawn < 8


def test_patch_with_hardly_any_data_is_shown_whole(monkeypatch):
    """One 60 m pixel of data in a corner: ten further windows are tried, then the view is the whole patch."""
    tried = []

    def draw(rng, config):
        tried.append(draw_geometry(rng, config))
        return tried[-1]

    monkeypatch.setattr(batches, "draw_geometry", draw)

    data = cornered(share=0.001 + 1 / 24, scale=(0.001, 0.001))
    batch = data[0, 3]

    assert [len({geometry.window for geometry in part}) for part in (tried[:11], tried[11:])] == [11, 11]
    render = Renderer(data.source.contract, data.source.form)
    pixels = data.source.pixels(3, 0, resolutions=render.resolutions)
    for view, last in zip(batch.views, (tried[10], tried[21]), strict=True):
        expected = render(pixels, 16, dataclasses.replace(last, window=WHOLE))
        assert expected.any()
        np.testing.assert_array_equal(view[0].numpy(), expected)


def test_speckle_is_the_same_on_workers_and_differs_between_views():
    """Its numbers are the view's own."""
    source = Radar()
    data = ViewDataset(
        source, PairConfig("fixed", strong(drop_bands=(0, 0), speckle=0.5)), contract=source.contract, seed=0
    )

    first, second = (
        list(make_loader(data, ResumableBatches(Order(8, 4, 0), first_step=0, num_steps=2), num_workers=n, pin=False))
        for n in (0, 2)
    )

    assert all(equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].views[0].std() > 1
    assert not torch.equal(first[0].views[0], first[0].views[1])


def test_views_that_the_bands_cannot_have_are_refused_at_once():
    """Nothing is read before."""
    source = Pixels()

    with pytest.raises(ConfigInvalid, match="speckle"):
        ViewDataset(source, PairConfig("fixed", strong(speckle=0.5)), contract=source.contract, seed=0)

    assert not source.asked
