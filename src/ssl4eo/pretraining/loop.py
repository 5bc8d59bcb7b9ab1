# SPDX-License-Identifier: Apache-2.0
"""The loop: samples to batches to views to a loss to weights, watched and kept, on one page.

Everything random is a function of (seed, step), and a checkpoint holds all state, so a run that was
killed continues at the very next sample with bit-identical weights (same machine, same number
of processes). All processes run this page; the first one alone reads and writes the folder. Nothing here knows a
method.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, save_backbone
from ssl4eo.checkpoints.training_state import load_step, save_state
from ssl4eo.contract import InputContract, narrowed
from ssl4eo.environment import commit
from ssl4eo.errors import RunStopped, ShardCorrupt
from ssl4eo.evaluation.online import NO_READING, Reading
from ssl4eo.files import append_jsonl
from ssl4eo.loading.batches import Batch, ViewDataset
from ssl4eo.loading.loader import make_loader, telling_lost_workers
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.memory import telling_shortage
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.config import EngineConfig, PretrainConfig
from ssl4eo.pretraining.initial import Initial, find_initial, record
from ssl4eo.pretraining.launch import make_fabric, settle, speak_once
from ssl4eo.pretraining.learner import Learner
from ssl4eo.pretraining.memory import less_memory
from ssl4eo.pretraining.run_folder import RunFolder
from ssl4eo.pretraining.step import build_method
from ssl4eo.pretraining.stop import StopSignals, requeue
from ssl4eo.pretraining.together import Together
from ssl4eo.pretraining.watch import Probe, Watch
from ssl4eo.training.events import require_tensorboard
from ssl4eo.training.journal import DAMAGED, LOG, Journal
from ssl4eo.views.masking import Masking

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    backbone: Path
    steps: int
    last_loss: float
    alarms: tuple[str, ...]
    is_first: bool = True
    """Whether this is the process that speaks for all of the run."""


def pretrain(
    config: PretrainConfig,
    source: PixelSource,
    out: Path,
    *,
    probe: Probe | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Result:
    """Train a backbone and keep it in `out`.

    Args:
        config: everything that decides the weights.
        source: pixels; its contract must be convertible into the config's.
        out: folder of the run: config.json, log.jsonl, checkpoints/, backbone.safetensors.
        probe: called every `engine.probe_every` epochs.
        resume: continue the run in `out` after its last checkpoint; start it if it has none.
        quiet: show no progress; alarms are printed all the same.

    Raises:
        TargetExists: `out` holds a run and `resume` is false.
        Busy: another process is training there.
        CheckpointInvalid: the run in `out` is of another config or other data, or its config.json is missing.
        WriteFailed: `out` cannot be made or written to.
        ConfigInvalid, ContractMismatch: options or data that cannot work, before the first step.
        DataMissing, DownloadFailed: the weights that `init_from` names cannot be had.
        SampleInvalid: a patch that shows nothing but zeros, or hardly anything else.
        WorkerLost: a loading process died.
        ShardCorrupt: a stored image is damaged, and `engine.damaged` is stop.
        TrainingDiverged: loss, gradients or weights are not finite; the last checkpoint stays.
        OutOfMemory: a step has no room on this machine; what the config could be changed to is named.
        RunStopped: SIGTERM or SIGUSR1 came; a checkpoint of the last step is written.
        WorkerLost: another process of the run ended.
    """
    speak_once()
    plan = _plan(config, source, out)
    engine, method = plan.config.engine, build_method(plan.config)
    fabric = make_fabric(engine)
    with Together(fabric) as together, StopSignals() as stop, contextlib.ExitStack() as held:
        held.enter_context(telling_shortage(_a_step(engine), functools.partial(less_memory, plan.config)))
        # --- who does it
        run = RunFolder(out, plan.config, source, resume=resume)
        first_step = together.first_alone(lambda: _open(run, held))
        state = None if first_step is None else load_step(out, first_step)
        initial = _initial(plan, together) if state is None else None
        learner = Learner(fabric, plan.config, state, initial, method=method)
        watching = {} if state is None else state.watching
        if initial is not None:
            together.first_alone(functools.partial(_tell_beginning, out, initial, learner.beginning))
        del state  # as large as the learner
        for doubt in plan.config.doubts(len(source)):
            log.warning(doubt)
        step = first_step or 0
        batches = _batches(plan, step, together, held, pin=fabric.device.type == "cuda")
        held.callback(batches.close)
        journal = held.enter_context(_journal(plan, step, quiet=quiet, mute=not together.is_first))
        judge = _judge(probe, learner, together)
        watch = Watch(
            engine,
            plan.order.steps_per_epoch,
            plan.num_steps,
            journal,
            judge,
            source,
            fabric.device,
            last_loss=run.last_loss,
        )
        watch.load_state(watching)
        # --- do it, leave the backbone
        step = _train(plan, step, run, learner, batches, watch, together, stop)
        path, backbone = out / BACKBONE_FILE, learner.backbone()
        watch.require_finite_weights(step, {"backbone": backbone.state_dict()})
        together.first_alone(lambda: save_backbone(backbone, path, training=training_record(plan.config, step)))
        return Result(path, step, watch.last_loss, tuple(journal.alarms), is_first=together.is_first)


@dataclass(frozen=True)
class _Plan:
    """What there is to do, known before another process is started."""

    config: PretrainConfig
    source: PixelSource
    seen: InputContract
    """The bands of the source that views are made of."""
    out: Path
    order: Order
    num_steps: int
    adapter: Adapter
    masking: Masking | None


def _plan(config: PretrainConfig, source: PixelSource, out: Path) -> _Plan:
    """Settle what this machine decides, and refuse what cannot work."""
    config = settle(config)
    engine = config.engine
    order = Order(len(source), engine.batch_size, engine.seed)
    seen = narrowed(source.contract, config.contract)
    adapter = Adapter(seen, config.contract)
    masking = config.method.masking(config.setting)
    if engine.tensorboard:
        require_tensorboard()
    return _Plan(config, source, seen, out, order, engine.epochs * order.steps_per_epoch, adapter, masking)


def _initial(plan: _Plan, together: Together) -> Initial | None:
    """Find the weights that a new run begins with; the first process fetches them."""
    name = plan.config.init_from
    return together.first_alone(lambda: find_initial(name)) if name else None


def _tell_beginning(out: Path, initial: Initial, notes: list[str]) -> None:
    append_jsonl(out / LOG, record(initial, notes))
    for note in notes:
        log.info("begins with %s", note)


def _batches(plan: _Plan, step: int, together: Together, held: contextlib.ExitStack, *, pin: bool) -> Generator[Batch]:
    """Make this process's batches from `step` on; the death of a worker is told as long as `held` holds."""
    engine = plan.config.engine
    dataset = ViewDataset(
        plan.source,
        plan.config.views,
        contract=plan.seen,
        seed=engine.seed,
        masking=plan.masking,
        adapter=Adapter(plan.seen, plan.config.contract),  # its own: the other lives on the device
        finish=engine.photometrics == "worker",
        ledger=plan.out / DAMAGED if engine.damaged == "replace" else None,
    )
    sampler = ResumableBatches(
        plan.order,
        first_step=step,
        num_steps=plan.num_steps,
        rank=together.rank,
        world_size=together.num_processes,
        num_parts=engine.accumulate,
    )
    held.enter_context(telling_lost_workers(dataset))
    held.enter_context(_telling_damage())
    return make_loader(dataset, sampler, num_workers=engine.num_workers, pin=pin)


@contextlib.contextmanager
def _telling_damage() -> Generator[None]:
    """Say with a damaged image how a run does without it."""
    try:
        yield
    except ShardCorrupt as error:
        if "location" in error.where:
            error.remedy = f"{error.remedy}; --resume --engine.damaged replace goes on with another in its place"
        raise


def _a_step(engine: EngineConfig) -> str:
    """Say what memory is taken for."""
    samples = engine.batch_size // (engine.num_processes * engine.accumulate)
    return f"the network, its optimizer and a step of {samples} samples at a time"


def _journal(plan: _Plan, step: int, *, quiet: bool, mute: bool) -> Journal:
    """Make the journal of the run from `step` on."""
    engine = plan.config.engine
    return Journal(
        plan.out,
        first_step=step,
        num_steps=plan.num_steps,
        batch_size=engine.batch_size,
        quiet=quiet,
        tensorboard=engine.tensorboard,
        mute=mute,
    )


def _train(
    plan: _Plan,
    step: int,
    run: RunFolder,
    learner: Learner,
    batches: Generator[Batch],
    watch: Watch,
    together: Together,
    stop: StopSignals,
) -> int:
    """Take all steps that are left; gives how many the run has done."""
    take_step = learner.stepper(plan.adapter)
    watch.start(step, learner.method)
    learner.module.train()
    for batch in watch.timed(batches):
        report = take_step(batch, Moment(step, plan.num_steps, plan.order.steps_per_epoch))
        step += 1
        # --- watch it, keep it
        watch.step(step, report, batch, method=learner.method)
        saving, stopping = together.any(watch.saves(step), stop.received is not None)
        if saving or stopping:
            state = learner.state(step, *run.records(), watch.state())
            watch.before_saving(state)
            together.first_alone(functools.partial(save_state, plan.out, state))
        if stopping and step < plan.num_steps:
            _stop(step, stop, together, plan.config.engine)
    return step


def _open(run: RunFolder, held: contextlib.ExitStack) -> int | None:
    """Hold the run's folder; give the step that it goes on from, None for a new run."""
    held.enter_context(run)
    return run.last_step()


def _judge(probe: Probe | None, learner: Learner, together: Together) -> Probe | None:
    """Let the first process judge; where weights are cut all must come to put them together."""
    if probe is None or not (together.is_first or learner.sharded):
        return None

    def judge(backbone: Backbone) -> Reading:
        del backbone
        network = learner.backbone()
        return probe(network) if together.is_first else NO_READING

    return judge


def _stop(step: int, stop: StopSignals, together: Together, engine: EngineConfig) -> None:
    """End the run after its checkpoint; the queue is asked once, by the first process."""
    by_user = together.any(stop.received == signal.SIGUSR1)[0]
    if engine.requeue and by_user:
        together.first_alone(requeue)
    name = "SIGUSR1" if by_user else "SIGTERM"
    raise RunStopped(
        f"{name} after step {step}; a checkpoint is written", remedy="the same command with --resume goes on", step=step
    )


def training_record(config: PretrainConfig, steps: int) -> dict[str, Any]:
    """Say how a backbone came about, for its header."""
    return {
        "recipe": config.recipe,
        "seed": config.engine.seed,
        "steps": steps,
        "epochs": config.engine.epochs,
        "commit": commit(),
        **({"init_from": config.init_from} if config.init_from else {}),
    }
