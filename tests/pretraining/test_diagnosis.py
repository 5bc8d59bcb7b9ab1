# SPDX-License-Identifier: Apache-2.0
"""What follows from figures that are given by hand."""

from __future__ import annotations

import dataclasses
from unittest.mock import ANY

import pytest

from ssl4eo.pretraining.diagnosis import diagnose
from ssl4eo.pretraining.doctor import SAFE_SHARE, Compute, Loader, Loading, choose_size, halvings
from ssl4eo.recipes.table import recipe

READER = Loading(read_per_second=50, render_per_second=200, num_views=2, num_samples=100)
RENDERER = Loading(read_per_second=200, render_per_second=50, num_views=2, num_samples=100)
LOADERS = [Loader(0, 40.0), Loader(1, 40.0), Loader(2, 80.0)]


def steps(rate, device="gpu"):
    """Make a reading of steps at `rate` samples a second."""
    return Compute(device, "32-true", 64, 64, "", rate, rate, 1000.0, 1 << 30)


def judge(
    loading, compute, *, profile="default", emulated=True, precision="32-true", size=224, loaders=LOADERS, **engine
):
    """Judge a MoCo v2 run."""
    base = recipe("moco_v2.resnet18.s2l1c").config()
    view = dataclasses.replace(base.views.view, size=size)
    options = dataclasses.replace(base.engine, **({"num_workers": 0, "precision": precision} | engine))
    config = dataclasses.replace(base, views=dataclasses.replace(base.views, view=view), engine=options)
    return diagnose(loading, loaders, compute, config=config, profile=profile, emulated=emulated)


def test_fast_loader_leaves_the_device_as_the_bound():
    """40 samples/s arrive, 30 are taken: smaller views are all that is left."""
    found = judge(READER, steps(30.0), num_workers=1)

    assert found.bound == "compute"
    assert "1 worker gives 40 samples/s, the device takes 30" in found.words
    assert found.advice == ("smaller views than 224 px, where the recipe allows it",)
    assert judge(READER, steps(30.0), size=64, num_workers=1).advice == ()


def test_slow_loader_is_cured_by_the_fewest_workers_that_suffice():
    """60 are taken: two workers give 80; one would not."""
    found = judge(READER, steps(60.0))

    assert found.bound == "read"
    assert found.advice[0].startswith("--engine.num_workers 2: 80 samples/s")
    assert len(found.advice) == 1


def test_without_workers_loading_and_steps_take_turns():
    """1 / (1/40 + 1/30) = 17.1: a worker makes it 30. At 400 a second loading is a tenth at most, and stays."""
    found = judge(READER, steps(30.0))

    assert found.bound == "read"
    assert "no workers (loading between the steps) give 40 samples/s, the device takes 30; in turns that is 17.14" in (
        found.words
    )
    assert found.advice[0].startswith("--engine.num_workers 1: 40 samples/s")
    assert judge(READER, steps(3.0), size=64) == dataclasses.replace(found, bound="compute", words=ANY, advice=())


@pytest.mark.parametrize(("rate", "bound"), [(13.0, "compute"), (14.0, "read")])
def test_on_a_cpu_turns_are_well_as_long_as_a_run_raises_no_alarm(rate, bound):
    """At 40 samples/s loaded, steps of 13.3 a second wait for a quarter of the time; a GPU of 13 wants a worker."""
    assert judge(READER, steps(rate, device="cpu")).bound == bound
    assert judge(READER, steps(rate)).bound == "read"


def test_workers_are_not_given_up_for_a_loader_that_is_faster_alone():
    """110 beside steps of 100 are more than 400 in turns with them, which make 80."""
    rows = [Loader(0, 400.0), Loader(1, 105.0)]

    found = judge(READER, steps(100.0), loaders=rows, num_workers=1)

    assert not any("num_workers 0" in row for row in found.advice)


def test_on_a_cpu_workers_and_steps_share_the_cores():
    """The advice says so."""
    assert "share the cores" in judge(READER, steps(60.0, device="cpu")).advice[0]
    assert "share the cores" not in judge(READER, steps(60.0)).advice[0]


@pytest.mark.parametrize(
    ("loading", "bound", "remedy"),
    [(READER, "read", "--profile fast (it is default)"), (RENDERER, "render", "smaller views than 224 px")],
)
def test_where_no_number_of_workers_suffices_the_slow_half_is_named(loading, bound, remedy):
    """500 are taken, 80 is the best: more workers first, then what makes loading itself faster."""
    found = judge(loading, steps(500.0))

    assert found.bound == bound
    assert "num_workers 2" in found.advice[0]
    assert any(remedy in row for row in found.advice[1:])


def test_archive_that_is_fast_already_is_not_to_be_packed_again():
    """Nor is a folder, which has no profile."""
    for profile in ("fast", None):
        assert not any("--profile" in row for row in judge(READER, steps(500.0), profile=profile).advice)


@pytest.mark.parametrize(
    ("precision", "emulated", "wanted"),
    [("bf16-mixed", True, "32-true"), ("32-true", False, "bf16-mixed"), ("32-true", True, None)],
)
def test_precision_follows_the_hardware(precision, emulated, wanted):
    """bf16 where it is computed, float32 where it would be emulated."""
    told = [
        row for row in judge(READER, steps(30.0), precision=precision, emulated=emulated).advice if "precision" in row
    ]

    assert [row.split()[1].rstrip(":") for row in told] == ([wanted] if wanted else [])


def test_float16_without_a_gpu_is_told():
    """`pretrain` would refuse it; on a GPU nothing is said."""
    advised = [judge(READER, steps(30.0, device=d), precision="16-mixed").advice for d in ("cpu", "gpu")]

    assert [[row.split(":")[0] for row in rows if "precision" in row] for rows in advised] == [
        ["--engine.precision auto"],
        [],
    ]


def test_channels_last_is_advised_where_it_is_off():
    """Only then."""
    found = judge(READER, steps(30.0), num_workers=1, channels_last=False)

    assert found.advice[0].startswith("--engine.channels_last true")


def test_without_steps_only_loading_is_judged():
    """The slow half and the best loader."""
    found = judge(RENDERER, None)

    assert found.bound == "render"
    assert "2 workers, gives 80 samples/s" in found.words


def test_size_is_the_largest_that_fits_time_and_memory():
    """By hand: four steps of 1 ms a sample, 1 MB a sample."""
    sizes = halvings(64)

    def choose(seconds, free):
        return choose_size(sizes, second_each=1e-3, byte_each=1e6, seconds=seconds, free=free)

    assert sizes == [64, 32, 16, 8, 4]
    assert choose(0.256, 64e6 / SAFE_SHARE + 1) == (64, "")
    assert choose(0.255, 1e12) == (32, "time")
    assert choose(100.0, 20e6 / SAFE_SHARE) == (16, "memory")
    assert choose(0.0, 1e12) == (4, "time")
