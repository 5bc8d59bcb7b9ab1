# SPDX-License-Identifier: Apache-2.0
"""What a pre-training run is: one value with everything that decides its weights."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from ssl4eo.backbones.architectures import check_image_size, patch_size
from ssl4eo.contract import InputContract, network_input
from ssl4eo.errors import ConfigInvalid, ContractMismatch, shown, unknown_name
from ssl4eo.methods.method import MethodConfig, Setting
from ssl4eo.training.finite import require_finite_options
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.training.schedule import ScheduleConfig
from ssl4eo.views.config import Views

Precision = Literal["auto", "bf16-mixed", "16-mixed", "32-true"]
Strategy = Literal["auto", "ddp", "fsdp"]
Photometrics = Literal["device", "worker"]
Damaged = Literal["stop", "replace"]
ProbeName = Literal["knn", "knn+linear"]


@dataclass(frozen=True)
class EngineConfig:
    """How long and on what."""

    epochs: int
    """Passes over the data."""
    batch_size: int
    """Samples a step, over all processes."""
    seed: int = 0
    """Of weights, order and views."""
    precision: Precision = "auto"
    """Of the forward and backward pass; weights stay float32. auto: bf16-mixed where the device computes in bf16."""
    channels_last: bool = True
    """Keep images as (B, H, W, C) in memory: the same numbers to rounding (benchmarks/bench_step.py for speed)."""
    accelerator: str = "auto"
    """cpu, gpu, or auto."""
    devices: int = 1
    """Processes on each machine."""
    num_nodes: int = 1
    """Machines."""
    strategy: Strategy = "auto"
    """ddp: each process has all weights; fsdp: each has its share of a transformer's; auto: ddp for several."""
    accumulate: int = 1
    """Parts that the batch of a process is computed in, one after the other, before the weights move."""
    activation_checkpointing: bool = False
    """Compute a transformer's blocks once more in the backward pass instead of keeping what is inside them."""
    compile: bool = False
    """Compile the backbone with torch.compile: another rounding; pays on GPUs and in long runs only."""
    num_workers: int = 0
    """Processes that read and crop ahead; 0 does it between the steps."""
    photometrics: Photometrics = "device"
    """Where views are scaled and changed in brightness: on the device (8 or 16 bits travel) or before."""
    damaged: Damaged = "stop"
    """What a stored image that cannot be read does: end the run, or be replaced by another, which RUN/damaged.jsonl
    notes."""
    log_every: int = 10
    """Steps between lines of the log."""
    probe_every: int = 1
    """Epochs between online readings on labelled data; 0 for none."""
    probe: ProbeName = "knn+linear"
    """What such a reading is: k-NN alone, or a linear probe of one fixed strength too."""
    save_every: int = 1
    """Epochs between checkpoints."""
    save_minutes: float = 10.0
    """Longest time between checkpoints [min], inside an epoch too; 0 saves every step."""
    tensorboard: bool = False
    """Write event files for TensorBoard too, into RUN/tensorboard; needs the extra ssl4eo[tensorboard]."""
    requeue: bool = False
    """Queue the SLURM job again when SIGUSR1 asks the run to stop."""

    def __post_init__(self) -> None:
        """Refuse values of another type, choices that there are not, and numbers below their least."""
        self._check_types()
        least = {"epochs": 1, "batch_size": 2, "seed": 0, "devices": 1, "num_nodes": 1, "accumulate": 1}
        if self.seed >= 2**32:
            raise ConfigInvalid(f"engine.seed is {self.seed}", expected="0 to 4294967295")
        if self.save_minutes < 0:
            raise ConfigInvalid(f"engine.save_minutes is {self.save_minutes}", expected="0 or more")
        for name, value in (least | {"num_workers": 0, "log_every": 1, "probe_every": 0, "save_every": 1}).items():
            if getattr(self, name) < value:
                raise ConfigInvalid(f"engine.{name} is {getattr(self, name)}", expected=f"{value} or more")
        pieces = self.num_processes * self.accumulate
        if self.batch_size % pieces:
            raise ConfigInvalid(
                f"engine.batch_size {self.batch_size} over {self.num_processes} processes in {self.accumulate} parts",
                expected="a multiple of processes times parts",
                remedy=self._other_pieces(),
            )
        if self.strategy == "fsdp" and self.precision == "16-mixed":
            raise ConfigInvalid(
                "engine.strategy fsdp with engine.precision 16-mixed",
                expected="bf16-mixed or 32-true: the scaler of 16-bit floats does not know cut gradients",
                remedy="--engine.precision bf16-mixed, or --engine.strategy ddp",
            )
        if self.strategy == "fsdp" and self.compile:
            raise ConfigInvalid(
                "engine.strategy fsdp with engine.compile",
                expected="one of the two: nobody has tried both here",
                remedy="leave engine.compile off, or --engine.strategy ddp",
            )

    def _check_types(self) -> None:
        """Refuse what the command line would: fractions for whole numbers, text for truth values, unknown choices."""
        for option, choices in _CHOICES.items():
            if getattr(self, option) not in get_args(choices):
                raise unknown_name(f"engine.{option}", getattr(self, option), get_args(choices))
        for option in dataclasses.fields(EngineConfig):  # a subclass has fields of its own, and checks them
            value = getattr(self, option.name)
            if option.name not in _CHOICES and not _is_of(str(option.type), value):
                raise ConfigInvalid(f"engine.{option.name} is {shown(value)}", expected=_TYPES[str(option.type)])

    def _other_pieces(self) -> str:
        """Name fewer processes or parts that the batch can be cut into: its size decides the result, and fits a queue.

        Of those the most processes, and the most parts with them.
        """
        numbers = itertools.product(_down(self.devices), _down(self.num_nodes), _down(self.accumulate))
        fitting = [pieces for pieces in numbers if self.batch_size % math.prod(pieces) == 0]  # one of each always fits
        chosen = max(fitting, key=lambda pieces: (pieces[0] * pieces[1], pieces[2]))
        options = zip(("devices", "num_nodes", "accumulate"), chosen, strict=True)
        changed = " ".join(f"--engine.{name} {n}" for name, n in options if n != getattr(self, name))
        return (
            f"for instance {changed}, which leaves the batch; or, for a new run, another batch_size that the method "
            "takes, too"
        )

    @property
    def num_processes(self) -> int:
        """Processes on all machines."""
        return self.devices * self.num_nodes


_CHOICES: Mapping[str, Any] = MappingProxyType(
    {"precision": Precision, "strategy": Strategy, "photometrics": Photometrics, "damaged": Damaged, "probe": ProbeName}
)
_TYPES = MappingProxyType({"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"})
"""What a value of an annotation is, in words."""


def _is_of(annotation: str, value: object) -> bool:
    """Say whether a value is of a type of `_TYPES`; a truth value is no number, though Python counts with it."""
    kinds = {"int": int, "float": (int, float), "bool": bool, "str": str}
    return isinstance(value, kinds[annotation]) and (annotation == "bool" or not isinstance(value, bool))


def _down(number: int) -> range:
    return range(number, 0, -1)


FREE_ON_RESUME = (
    "engine.num_workers",
    "engine.damaged",
    "engine.log_every",
    "engine.probe",
    "engine.probe_every",
    "engine.save_every",
    "engine.save_minutes",
    "engine.tensorboard",
    "engine.requeue",
)
"""Options that a resumed run may change: they do not touch the weights."""

BEFORE = MappingProxyType({"init_from": "", "bands": ()})
"""Options that are younger than runs that may still be resumed, and what these did."""

ROUNDED_ON_RESUME = (
    "engine.accelerator",
    "engine.devices",
    "engine.num_nodes",
    "engine.strategy",
    "engine.accumulate",
    "engine.activation_checkpointing",
    "engine.compile",
)
"""Options that a resumed run may change while its batch stays the same: the same samples in the same steps, but sums in
another order, so that weights agree to rounding and not bit by bit. Two things are not rounding, and the warning says
so: drop path and attention drop are drawn by process, and parts of an accumulated batch have their own batch norm."""


_FITTING: ContextVar[bool] = ContextVar("fitting", default=True)


@contextmanager
def fitting(*, required: bool) -> Generator[None]:
    """Say whether the parts of a config made inside must fit together; options may be about to make them fit."""
    before = _FITTING.set(required)
    try:
        yield
    finally:
        _FITTING.reset(before)


@dataclass(frozen=True)
class PretrainConfig:
    """A complete pre-training experiment, data apart."""

    recipe: str
    """Name it was made from."""
    modality: str
    """What is read from the data: one modality, or several joined by +."""
    backbone: str
    """Architecture."""
    method: MethodConfig
    """Objective."""
    views: Views
    """What the network sees."""
    optimizer: OptimizerConfig
    """Optimizer and peak learning rate."""
    schedule: ScheduleConfig
    """Learning rate over time."""
    engine: EngineConfig
    """How long and on what."""
    scaling: Literal["default", "zscore"] = "default"
    """What the network is fed: default, values from 0 to 1 as published; zscore, mean 0 and deviation 1 per band by
    published statistics, for views without photometric changes."""
    bands: tuple[str, ...] = ()
    """Bands of the modality that the network is fed, in order, of several modalities each one's own; none for all."""
    init_from: str = ""
    """Weights that the run begins with: a name of the catalog, a file, a run's folder; empty: drawn from the seed."""

    def __post_init__(self) -> None:
        """Refuse numbers that are none, in any part, and parts that do not fit together."""
        require_finite_options(self)
        if _FITTING.get():
            self._require_fitting()

    def _require_fitting(self) -> None:
        for size in dict.fromkeys(view.size for view in self.views.views):
            check_image_size(self.backbone, size)
        self.method.check(self.setting)
        self._check_scaling()
        self._check_bands()
        self._check_residual()

    def _check_scaling(self) -> None:
        if self.scaling not in ("default", "zscore"):
            raise unknown_name("scaling", self.scaling, ("default", "zscore"))
        if self.scaling == "zscore" and any(view.photometric.changes_values for view in self.views.views):
            raise ConfigInvalid(
                "scaling zscore with photometric changes",
                expected="views without them: brightness and gray are of values from 0 to 1",
                remedy="--scaling default, or probabilities of 0",
            )

    def _check_bands(self) -> None:
        try:
            bands = self.contract.bands
        except ContractMismatch as error:
            raise ConfigInvalid(
                f"{error.found} (option bands)", expected=error.expected, remedy=error.remedy
            ) from error
        object.__setattr__(self, "bands", bands if self.bands else ())  # in our spelling

    def _check_residual(self) -> None:
        if patch_size(self.backbone) is not None:
            return
        if self.optimizer.layer_decay != 1:
            raise ConfigInvalid(
                f"optimizer.layer_decay {self.optimizer.layer_decay} for {self.backbone}",
                expected="1, or a transformer: a residual network has no blocks to count",
                remedy="--optimizer.layer_decay 1",
            )
        if self.engine.strategy == "fsdp":
            raise ConfigInvalid(
                f"engine.strategy fsdp for {self.backbone}",
                expected="a transformer: a residual network has no equal blocks to cut, and fits everywhere",
                remedy="--engine.strategy ddp",
            )
        if self.engine.activation_checkpointing:
            raise ConfigInvalid(
                f"engine.activation_checkpointing for {self.backbone}",
                expected="a transformer: computing batch norm twice would move its statistics twice",
                remedy="use --engine.accumulate for less memory",
            )

    @property
    def image_size(self) -> int:
        """Height and width that the network is trained for [px]: of the first view."""
        return self.views.views[0].size

    @property
    def setting(self) -> Setting:
        """What the method is checked against."""
        return Setting(
            arch=self.backbone,
            image_size=self.image_size,
            num_views=len(self.views.views),
            batch_size=self.engine.batch_size,
            num_processes=self.engine.num_processes,
            accumulate=self.engine.accumulate,
        )

    @property
    def contract(self) -> InputContract:
        """What enters the network."""
        return network_input(self.modality, self.bands or None, standardized=self.scaling == "zscore")

    def doubts(self, num_items: int) -> tuple[str, ...]:
        """Say what is doubtful about a run over this many items, though it can be done."""
        warmup, epochs = self.schedule.warmup_epochs, self.engine.epochs
        short = (
            f"schedule.warmup_epochs {warmup:g} is as long as the run (engine.epochs {epochs}): the learning rate "
            "never gets to its peak, and the network hardly moves; a tenth of the run is usual"
        )
        of_method = (self.method.warn_of_data(num_items), self.method.warn_of_parts(self.engine.accumulate))
        return (*filter(None, of_method), *([short] if warmup >= epochs else []))

    def to_json(self) -> dict[str, Any]:
        """Give plain nested values."""
        return dataclasses.asdict(self)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested values into dotted names; tuples become lists, as JSON has them.

    >>> flatten({"a": {"b": 1}, "c": (2, 3)})
    {'a.b': 1, 'c': [2, 3]}
    >>> flatten({"parts": [{"a": 1}, {"a": 2}]})
    {'parts.0.a': 1, 'parts.1.a': 2}
    """
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            rows |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            rows |= flatten({str(number): part for number, part in enumerate(value)}, f"{prefix}{name}.")
        else:
            rows[prefix + name] = list(value) if isinstance(value, tuple) else value
    return rows
