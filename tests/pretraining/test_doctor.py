# SPDX-License-Identifier: Apache-2.0
"""The doctor measures what a run would do: its precision, its optimizer, its views."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_loop import Noise, config

from ssl4eo.contract import stored
from ssl4eo.form import Form
from ssl4eo.pretraining import doctor, launch
from ssl4eo.recipes.table import recipe
from ssl4eo.sensors import modality
from ssl4eo.training.optimizer import OptimizerConfig


class Multispectral(Noise):
    """Random pixels of the 12 bands of level 2A."""

    contract = stored("S2L2A")
    form = Form.native("S2L2A")

    def pixels(self, index, season, *, resolutions=None):
        """Give uint16."""
        rng = np.random.default_rng((index, season))
        groups = modality("S2L2A").groups.items()
        return {r: rng.integers(1, 9000, (len(b), 240 // r, 240 // r)).astype(np.uint16) for r, b in groups}


class Pretended:
    """Steps whose time is known: so much a step, and so much a sample [s]."""

    def __init__(self, *, fixed, each):
        self.fixed, self.each, self.sizes = fixed, each, []
        self.fabric = SimpleNamespace(device=torch.device("cpu"))

    def batch(self, size):
        """Give the size itself."""
        return size

    def seconds(self, batch):
        """Give the time of a step and of what comes before it."""
        self.sizes.append(batch)
        return self.fixed + self.each * batch, 0.01


def settings(**engine):
    """Make a run on the CPU with AdamW."""
    base = config()
    options = dataclasses.replace(base.engine, **({"accelerator": "cpu", "precision": "32-true"} | engine))
    optimizer = OptimizerConfig(name="adamw", lr=1e-3, weight_decay=0.0)
    return dataclasses.replace(base, engine=options, optimizer=optimizer)


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
@pytest.mark.parametrize(("in_hardware", "expected"), [(False, "32-true"), (True, "bf16-mixed")])
def test_half_precision_that_a_cpu_does_not_have_is_done_without(precision, in_hardware, expected, monkeypatch):
    """A published recipe in float16 is measured in what `auto` would choose."""
    for module in (doctor, launch):
        monkeypatch.setattr(module, "computes_in_bf16", lambda accelerator: in_hardware)
    published = recipe("mae.vit_small_16.s2l1c.as_published").config()
    assert published.engine.precision == "16-mixed"
    engine = dataclasses.replace(published.engine, precision=precision, accelerator="cpu")

    found = doctor.measurable(dataclasses.replace(published, engine=engine))

    assert found.engine.precision == expected


@pytest.mark.parametrize(("precision", "fused"), [("16-mixed", False), ("32-true", True)])
def test_optimizer_is_that_of_a_run(precision, fused, monkeypatch):
    """Under a gradient scaler AdamW is not fused; a GPU is pretended, and the fabric computes in float32."""
    for module in (doctor, launch):
        monkeypatch.setattr(module, "on_gpu", lambda accelerator: True)
    make = doctor.make_fabric
    monkeypatch.setattr(doctor, "make_fabric", lambda engine: make(dataclasses.replace(engine, precision="32-true")))
    seen = []
    make_optimizer = doctor.make_optimizer

    def record(*arguments, **options):
        seen.append(make_optimizer(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(doctor, "make_optimizer", record)

    doctor.Trial(settings(precision=precision), Noise())

    assert [optimizer.defaults["fused"] for optimizer in seen] == [fused]


@pytest.mark.parametrize(("photometrics", "finished"), [("device", False), ("worker", True)])
def test_steps_are_measured_on_an_archive_of_other_bands(photometrics, finished):
    """12 bands are stored, 13 are fed: strengths are those of the 13, and views finished where a run would."""
    wanted = dataclasses.replace(settings(photometrics=photometrics), modality="S2L1C")
    trial = doctor.Trial(wanted, Multispectral())

    batch = trial.batch(4)

    assert batch.finished == finished
    assert [view.shape[1] for view in batch.views] == [13 if finished else 12] * 2
    assert [rows.shape[1] for rows in batch.photometric] == [4 + 2 * 13] * 2
    assert all(seconds > 0 for seconds in trial.seconds(batch))


@pytest.fixture
def compute(monkeypatch):
    """Measure pretended steps of a batch of `wanted`."""

    def measure(trial, *, wanted, seconds):
        trial.config = SimpleNamespace(engine=SimpleNamespace(batch_size=wanted, precision="32-true"))
        monkeypatch.setattr(doctor, "Trial", lambda config, source: trial)
        return doctor.measure_compute(trial.config, Noise(), seconds=seconds)

    return measure


def test_rate_of_the_whole_batch_is_told_from_two_sizes(compute):
    """A step is pretended that takes 2 s and a tenth of a second a sample, with time for 8 of 256 samples."""
    trial = Pretended(fixed=2.0, each=0.1)

    found = compute(trial, wanted=256, seconds=25.0)

    assert (found.batch_size, found.limit) == (8, "time")
    assert found.samples_per_second == pytest.approx(8 / 2.8)
    assert found.most_per_second == pytest.approx(256 / (2 + 25.6))
    assert trial.sizes == [4] * 2 + [8] * 4 + [4] * 4


def test_smallest_batch_is_compared_with_the_next(compute):
    """Where there is no time for more than 4 samples, 8 are tried all the same."""
    trial = Pretended(fixed=2.0, each=0.1)

    found = compute(trial, wanted=256, seconds=5.0)

    assert (found.batch_size, found.most_per_second) == (4, pytest.approx(256 / (2 + 25.6)))
    assert trial.sizes == [4] * 6 + [8] * 4


@pytest.mark.parametrize(
    ("fixed", "seconds", "sizes"), [(0.0, 30.0, [4] * 2 + [64] * 4 + [4] * 4), (0.0, 1e6, [4] * 2 + [256] * 4)]
)
def test_batch_that_costs_nothing_beside_its_samples_is_as_fast_as_any(compute, fixed, seconds, sizes):
    """10 samples a second, whatever the batch; where the whole batch is measured no other is."""
    trial = Pretended(fixed=fixed, each=0.1)

    found = compute(trial, wanted=256, seconds=seconds)

    assert found.most_per_second == pytest.approx(10)
    assert trial.sizes == sizes


@pytest.mark.parametrize("seconds", [{4: 5.0, 8: 4.0}, {4: 2.0, 8: 4.5}, {4: 4.0, 8: 4.0}])
def test_readings_that_no_step_can_have_promise_nothing(seconds):
    """A larger batch that is faster, or slower a sample: the rate that was seen."""
    assert doctor.highest_rate(seconds, wanted=64) == 8 / seconds[8]
