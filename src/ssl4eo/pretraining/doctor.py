# SPDX-License-Identifier: Apache-2.0
"""How fast is each stage of a run on this machine, measured apart from the others, with real pixels and real steps.

Reading and rendering are measured in this process as the loader's processes do them, then whole loaders with several
numbers of workers, then steps of the recipe. Times are short (seconds a stage), so figures say which stage bounds, not
the third digit. diagnosis.py says what follows.
Price: a small archive lies in the system's file cache, where reading is faster than from the disk that holds a large
one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass

import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import narrowed
from ssl4eo.loading.batches import Batch, ViewDataset
from ssl4eo.loading.loader import make_loader
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.launch import computes_in_bf16, make_fabric, on_gpu, settle
from ssl4eo.pretraining.memory import Meter
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.training.optimizer import make_optimizer
from ssl4eo.training.processor import fit_to_processor
from ssl4eo.training.stopwatch import clock_of

LOADER_BATCH = 16
"""Samples that a loader makes at a time while it is measured."""
FIRST_BATCH = 4
"""Samples of the steps that tell how many more fit."""
NUM_STEPS = 3
"""Steps that are measured."""
SAFE_SHARE = 0.7
"""Share of the free memory that a step may take."""
ENDLESS = 1 << 40
"""Steps that nobody does."""


@dataclass(frozen=True)
class Loading:
    """Reading and rendering in one process."""

    read_per_second: float
    """Samples a second, if there were only reading; a sample is all seasons that its views need."""
    render_per_second: float
    """Samples a second, if there were only crops, blur and masks."""
    num_views: int
    """Views of a sample."""
    num_samples: int
    """Samples that were measured."""


@dataclass(frozen=True)
class Loader:
    """A whole loader."""

    num_workers: int
    samples_per_second: float


@dataclass(frozen=True)
class Compute:
    """Steps of a recipe on the device."""

    device: str
    precision: str
    batch_size: int
    """Of the measured steps."""
    wanted_batch_size: int
    """Of the recipe, for one process and one part."""
    limit: str
    """What made the measured batch smaller than the recipe's: time or memory; empty if it is not."""
    samples_per_second: float
    """Whole steps of the measured batch."""
    most_per_second: float
    """Whole steps of the recipe's batch: the same if it was measured, else an upper bound from steps of two sizes."""
    photometric_per_second: float
    """Samples a second, if there were only the move to the device, scaling and brightness."""
    peak_bytes: int
    """Most memory of a step: of this process on a CPU, of torch's tensors on a GPU."""


def make_dataset(config: PretrainConfig, source: PixelSource) -> ViewDataset:
    """Make the views that a run of the config would see.

    Raises:
        ContractMismatch: the source cannot be converted into the network's input.
    """
    seen = narrowed(source.contract, config.contract)
    return ViewDataset(
        source,
        config.views,
        contract=seen,
        seed=0,
        masking=config.method.masking(config.setting),
        adapter=Adapter(seen, config.contract),
        finish=config.engine.photometrics == "worker",
    )


def measure_loading(dataset: ViewDataset, *, num_items: int, num_views: int, seconds: float) -> Loading:
    """Read and render in this process for some seconds, one untimed sample first."""
    order = Order(num_items, 1, seed=0)
    total, count = torch.zeros(2, dtype=torch.float64), 0
    stop = None
    for items in order.batches(0, ENDLESS):
        batch = dataset.__getitems__(items)
        if stop is None:
            stop = time.perf_counter() + seconds
            continue
        total, count = total + batch.seconds, count + 1
        if time.perf_counter() >= stop:
            break
    read, rendered = (count / max(value, 1e-9) for value in total.tolist())
    return Loading(read, rendered, num_views, count)


def measure_loader(dataset: ViewDataset, *, num_items: int, num_workers: int, seconds: float) -> Loader:
    """Take batches from a loader as fast as it gives them, the first one (starting the workers) untimed."""
    size = min(LOADER_BATCH, num_items)
    order = ResumableBatches(Order(num_items, size, seed=0), first_step=0, num_steps=ENDLESS)
    with contextlib.closing(make_loader(dataset, order, num_workers=num_workers, pin=False)) as batches:
        for _ in range(1 + 2 * num_workers):  # what was made ahead while the workers started
            next(batches)
        started, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < seconds or not count:
            next(batches)
            count += size
        spent = time.perf_counter() - started
    return Loader(num_workers, count / spent)


class Trial:
    """Steps of a recipe with a batch of one size."""

    def __init__(self, config: PretrainConfig, source: PixelSource) -> None:
        """Build network and optimizer once."""
        self.config = measurable(config)
        self.fabric = make_fabric(self.config.engine)
        self._clock = clock_of(self.fabric.device)
        self._dataset, self._num_items = make_dataset(config, source), len(source)
        method = build_method(self.config)
        engine = self.config.engine
        fit_to_processor(
            method, channels_last=engine.channels_last, precision=engine.precision, device=self.fabric.device
        )
        fused = self.config.engine.precision != "16-mixed"
        optimizer = make_optimizer(self.config.optimizer, method.named_parameters(), fused=fused)
        module, optimizer = self.fabric.setup(method, optimizer)
        module.train()
        self._step = Stepper(
            self.fabric,
            self.config,
            method=method,
            module=module,
            optimizer=optimizer,
            adapter=Adapter(narrowed(source.contract, self.config.contract), self.config.contract).to(
                self.fabric.device
            ),
        )

    def batch(self, size: int) -> Batch:
        """Make a batch of any size; items are repeated where the source has fewer."""
        return self._dataset.__getitems__([(n // self._num_items, n % self._num_items) for n in range(size)])

    def seconds(self, batch: Batch) -> tuple[float, float]:
        """Do a step: its time, and of it the time until views lie scaled on the device [s]."""
        began = self._clock.now()
        report = self._step(batch, Moment(step=0, num_steps=100, steps_per_epoch=10))
        ended = self._clock.now()
        prepared = sum(self._clock.seconds(*span) for span in report.preparing)
        return self._clock.seconds(began, ended), prepared


def measurable(config: PretrainConfig) -> PretrainConfig:
    """Give the config for one process and one part; a precision that this device does not have becomes one it has."""
    engine = config.engine
    parts = engine.devices * engine.num_nodes * engine.accumulate
    engine = dataclasses.replace(
        engine, devices=1, num_nodes=1, accumulate=1, batch_size=max(2, engine.batch_size // parts)
    )
    emulated = engine.precision == "bf16-mixed" and not computes_in_bf16(engine.accelerator)
    refused = engine.precision == "16-mixed" and not on_gpu(engine.accelerator)
    if emulated or refused:
        engine = dataclasses.replace(engine, precision="auto")
    return settle(dataclasses.replace(config, engine=engine))


def measure_compute(config: PretrainConfig, source: PixelSource, *, seconds: float) -> Compute:
    """Do some real steps of a recipe, with as many samples of its batch as time and memory allow.

    Args:
        config: of the run; several processes or parts are measured as one.
        source: of the pixels.
        seconds: that the measured steps may take, roughly.
    """
    trial = Trial(config, source)
    device, wanted = trial.fabric.device, trial.config.engine.batch_size
    size, limit = _fitting_size(trial, wanted, seconds)
    batch, meter = trial.batch(size), Meter(device)
    trial.seconds(batch)
    meter.start()
    times = [trial.seconds(batch) for _ in range(NUM_STEPS)]
    whole, prepared = (sorted(column)[NUM_STEPS // 2] for column in zip(*times, strict=True))
    most = size / whole
    if limit and (other := _other_size(halvings(wanted), size, limit)) is not None:
        # The fastest step of each: a difference of two medians is mostly what else the machine did.
        most = highest_rate({other: _fastest(trial, other), size: min(seconds for seconds, _ in times)}, wanted)
    return Compute(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=trial.config.engine.precision,
        batch_size=size,
        wanted_batch_size=wanted,
        limit=limit,
        samples_per_second=size / whole,
        most_per_second=most,
        photometric_per_second=size / max(prepared, 1e-9),
        peak_bytes=meter.peak,
    )


def _fitting_size(trial: Trial, wanted: int, seconds: float) -> tuple[int, str]:
    """Find by a step of few samples how many fit; give the size and what bounds it, empty for nothing."""
    sizes = halvings(wanted)
    small, meter = sizes[-1], Meter(trial.fabric.device)
    batch = trial.batch(small)
    trial.seconds(batch)  # the optimizer's state is there afterwards
    free = meter.free()
    meter.start()
    each = trial.seconds(batch)[0] / small
    return choose_size(sizes, second_each=each, byte_each=meter.grown / small, seconds=seconds, free=free)


def _other_size(sizes: list[int], size: int, limit: str) -> int | None:
    """Choose a second size to measure: the smallest, or the one above it where the smallest is the first one."""
    if size > sizes[-1]:
        return sizes[-1]
    return sizes[-2] if len(sizes) > 1 and limit == "time" else None


def _fastest(trial: Trial, size: int) -> float:
    """Time steps of another size [s]; the first one finds memory to be taken."""
    batch = trial.batch(size)
    return min(trial.seconds(batch)[0] for _ in range(1 + NUM_STEPS))


def highest_rate(seconds: dict[int, float], wanted: int) -> float:
    """Tell the samples a second of a batch from the time of two others: so much a step, and so much a sample.

    What a step costs whatever its batch (the optimizer, moving averages, starting threads) weighs little in a large
    one. Small batches are slow for other reasons too, so this is the most that a large one does. A fixed part below
    zero, or a sample that takes no time, is noise: the rate is then that of the larger batch.

    Args:
        seconds: of a step, by batch size, of two sizes.
        wanted: batch size.

    >>> highest_rate({4: 5.0, 8: 7.0}, wanted=64)  # 3 s a step and half a second a sample
    1.8285714285714285
    """
    (small, fast), (large, slow) = sorted(seconds.items())
    each = (slow - fast) / (large - small)
    fixed = fast - each * small
    return wanted / (fixed + each * wanted) if each > 0 and fixed > 0 else large / slow


def halvings(wanted: int) -> list[int]:
    """Give a batch size halved again and again: what suits the whole batch (a queue, say) suits these.

    >>> halvings(64), halvings(6), halvings(2)
    ([64, 32, 16, 8, 4], [6, 3], [2])
    """
    sizes = [wanted]
    while sizes[-1] % 2 == 0 and sizes[-1] > FIRST_BATCH:
        sizes.append(sizes[-1] // 2)
    return sizes


def choose_size(
    sizes: list[int], *, second_each: float, byte_each: float, seconds: float, free: float
) -> tuple[int, str]:
    """Take the largest size whose steps fit into time and memory, else the last; say what bounds it.

    Args:
        sizes: from large to small.
        second_each: time of a sample [s].
        byte_each: memory of a sample while it is computed.
        seconds: for all steps together.
        free: memory that could be taken [bytes].
    """
    limit = ""
    for size in sizes:
        if byte_each * size > SAFE_SHARE * free:
            limit = "memory"
        elif second_each * size * (NUM_STEPS + 1) > seconds:
            limit = "time"
        else:
            return size, limit
    return sizes[-1], limit
