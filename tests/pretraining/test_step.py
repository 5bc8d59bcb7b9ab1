# SPDX-License-Identifier: Apache-2.0
"""One step: parts of a batch, clipping, scaled gradients, and what must not change a number."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass

import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from process_driver import CENTERED, QUEUED, build
from test_loop import Noise, assert_equal, weights

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.contract import stored
from ssl4eo.errors import ConfigInvalid
from ssl4eo.files import read_jsonl
from ssl4eo.loading.batches import Batch
from ssl4eo.methods.method import Moment
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.pretraining import learner as learner_module
from ssl4eo.pretraining.fabric import Fabric
from ssl4eo.pretraining.learner import Learner, require_compiler
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.pretraining.step import Stepper, step_seed
from ssl4eo.pretraining.watch import MOST_SKIPPED, LossGuard, Seen
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.training.schedule import ScheduleConfig

NOW = Moment(step=0, num_steps=100, steps_per_epoch=10)
PLAIN = OptimizerConfig("sgd", 1.0, 0.0, momentum=0.0)


def uncoupled(optimizer=PLAIN, **engine):
    """Make a run in which samples do not meet: a transformer has no batch norm, MoCo v2 compares with its queue."""
    config = build("moco_v2.vit_w48d2h3_8", optimizer, batch_size=8, **engine)
    return dataclasses.replace(config, method=QUEUED, schedule=ScheduleConfig())


def one_step(config, precision=None):
    """Take one step with a fixed batch; give the learner, its weights before, and the report."""
    plain = {"accelerator": "cpu", "devices": 1}
    fabric = Fabric(**plain) if precision is None else Fabric(**plain, plugins=[precision])
    learner = Learner(fabric, config, None)
    before = {name: p.detach().clone() for name, p in learner.method.named_parameters()}
    adapter = Adapter(stored("S2RGB"), config.contract)
    take = Stepper(
        fabric, config, method=learner.method, module=learner.module, optimizer=learner.optimizer, adapter=adapter
    )
    learner.module.train()
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.randint(0, 256, (8, 3, 32, 32), generator=generator).to(torch.uint8) for _ in range(2))
    rows = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]).repeat(8, 1)
    batch = Batch(views, (rows, rows), torch.arange(8), torch.zeros(8, 2, dtype=torch.long))
    return learner, before, take(batch, NOW)


def moved(learner, before):
    """Give how far each parameter moved: its clipped gradient, at rate 1 of plain SGD."""
    return {n: before[n] - p.detach() for n, p in learner.method.named_parameters() if p.requires_grad}


def scaler(start=2.0**10):
    """Make fp16 autocast with a gradient scaler on the CPU, where neither is meant for work."""
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=start))


def test_parts_of_a_batch_add_up_to_the_batch():
    """Four parts of two: gradients, loss, metrics and queue of one part of eight, to float32 rounding."""
    whole, start, expected = one_step(uncoupled())
    parts, _, found = one_step(uncoupled(accumulate=4))

    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.metrics["contrast_accuracy"], expected.metrics["contrast_accuracy"])
    torch.testing.assert_close(found.grad_norm, expected.grad_norm, rtol=1e-4, atol=0)
    for name, value in moved(parts, start).items():
        torch.testing.assert_close(value, moved(whole, start)[name], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(parts.method.queue.keys, whole.method.queue.keys, rtol=1e-4, atol=1e-5)
    assert int(parts.method.queue.pointer) == 8


@pytest.mark.parametrize("precision", [None, scaler()])
def test_clipping_bounds_the_norm_of_all_gradients(precision):
    """The step is as long as the bound, scaled gradients or not: they are unscaled first."""
    learner, before, report = one_step(uncoupled(dataclasses.replace(PLAIN, clip="norm", clip_norm=0.01)), precision)

    length = torch.stack([v.norm() for v in moved(learner, before).values()]).norm()

    assert 0.01 < float(report.grad_norm) < 100
    assert float(length) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("precision", [None, scaler()])
def test_clipping_by_parameter_bounds_each(precision):
    """No parameter moves further than the bound; those with a longer gradient move just as far; others are left."""
    bound = 0.02
    free, start, _ = one_step(uncoupled())
    clipped = dataclasses.replace(PLAIN, clip="parameter", clip_norm=bound)

    learner, before, _ = one_step(uncoupled(clipped), precision)

    lengths = {name: float(v.norm()) for name, v in moved(free, start).items()}
    found = {name: float(v.norm()) for name, v in moved(learner, before).items()}
    assert min(lengths.values()) < bound < max(lengths.values())
    for name, length in found.items():
        assert length == pytest.approx(min(bound, lengths[name]), rel=0.05, abs=1e-4), name


def test_overflow_skips_the_step_and_the_scale_is_kept():
    """Gradients beyond 16 bits move nothing and halve the scale; a checkpoint holds it, a continuation has it."""
    config = uncoupled(precision="16-mixed")
    learner, before, _ = one_step(config, scaler(start=2.0**40))

    state = learner.state(1, {}, {}, {})
    again = Learner(Fabric(accelerator="cpu", devices=1, plugins=[scaler()]), config, state)

    assert all(float(v.abs().max()) == 0 for v in moved(learner, before).values())
    assert state.precision["scale"] == 2.0**39
    assert again.state(1, {}, {}, {}).precision == state.precision


def test_overflow_of_scaled_gradients_is_no_divergence():
    """The scaler has skipped that update already; the same norm without a scaler ends the run."""
    _, _, report = one_step(uncoupled(precision="16-mixed"), scaler(start=2.0**40))
    seen = Seen(1, report.loss, report.grad_norm, torch.arange(8))
    found = {}
    for scaled in (True, False):
        guard = LossGuard(scaled=scaled)
        guard.add(seen)
        found[scaled] = guard.find()

    assert not torch.isfinite(report.grad_norm)
    assert found == {True: [], False: [seen]}


@pytest.mark.parametrize("every", [1, 3, 50, 64])
def test_a_scaler_that_skips_every_update_ends_the_run(every):
    """No scale helps gradients that are never finite; one finite norm begins the count anew, whenever one looks."""
    guard, found = LossGuard(scaled=True), []
    for step in range(1, 501):
        norm = torch.tensor(1.0 if step == 40 else torch.inf)
        guard.add(Seen(step, torch.tensor(2.0), norm, torch.arange(8)))
        if step % every == 0 and (found := guard.find()):
            break

    assert found[-1].step == 40 + MOST_SKIPPED


def test_random_numbers_of_a_step_belong_to_seed_step_and_process():
    """No two of them share a torch seed."""
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(20) for rank in range(8)}

    assert len(seeds) == 3 * 20 * 8


@dataclass(frozen=True)
class Dropping(MoCoV2Config):
    """MoCo v2 with blocks that are skipped at random."""

    def backbone_options(self, arch):
        """Ask for it."""
        return BackboneOptions(drop_path=0.3)


def test_activation_checkpointing_changes_no_bit(tmp_path):
    """Blocks computed twice, with the same random numbers: the same weights."""
    method = Dropping(**{f.name: getattr(QUEUED, f.name) for f in dataclasses.fields(QUEUED)})
    for name, twice in (("once", False), ("twice", True)):
        config = build("moco_v2.vit_w48d2h3_8", epochs=1, activation_checkpointing=twice)
        pretrain(dataclasses.replace(config, method=method), Noise(), tmp_path / name, quiet=True)

    assert_equal(weights(tmp_path / "once"), weights(tmp_path / "twice"))


@pytest.mark.parametrize(
    ("name", "engine", "match"),
    [
        ("moco_v2.resnet18", {"strategy": "fsdp"}, "engine.strategy ddp"),
        ("moco_v2.resnet18", {"activation_checkpointing": True}, "statistics twice"),
        ("moco_v2.vit_w48d2h3_8", {"strategy": "fsdp", "precision": "16-mixed"}, "bf16-mixed"),
        ("moco_v2.vit_w48d2h3_8", {"strategy": "fsdp", "compile": True}, "engine.compile"),
        ("moco_v2.vit_w48d2h3_8", {"devices": 3}, "--engine.devices 2"),
    ],
)
def test_options_that_do_not_go_together_are_refused(name, engine, match):
    """Before anything starts, with the remedy."""
    with pytest.raises(ConfigInvalid, match=match):
        build(name, **engine)


def test_sixteen_bits_without_a_gpu_are_refused(tmp_path):
    """Nothing else is computed in silence."""
    with pytest.raises(ConfigInvalid, match="32-true"):
        pretrain(build("moco_v2.vit_w48d2h3_8", precision="16-mixed"), Noise(), tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    """The reason and two ways out."""

    def fail(function):
        raise RuntimeError("no g++")

    monkeypatch.setattr(learner_module.torch, "compile", fail)

    with pytest.raises(ConfigInvalid, match=r"no g\+\+.*leave engine.compile off"):
        require_compiler(torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.filterwarnings("default")  # torch's compiler warns of itself
def test_compiled_backbone_has_the_same_losses(tmp_path):
    """Fused kernels round differently: two epochs agree to 1e-4."""
    for name in ("plain", "compiled"):
        config = build("moco_v2.vit_w48d2h3_8", epochs=2, compile=name == "compiled")
        pretrain(config, Noise(), tmp_path / name, quiet=True)

    plain, compiled = ([r["loss"] for r in read_jsonl(tmp_path / n / "log.jsonl")] for n in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_kept_network_of_cut_weights_has_the_options_of_whole_ones():
    """DINO keeps a teacher without drop path, whichever way its weights are put together."""
    config = dataclasses.replace(build("dino.vit_w48d2h3_8"), method=dataclasses.replace(CENTERED, drop_path=0.1))
    learner = Learner(Fabric(accelerator="cpu", devices=1), config, None)

    kept = learner.backbone()
    learner.sharded = True
    copied = learner.backbone()

    assert copied is not kept
    assert copied.options == kept.options
    assert copied.options.drop_path == 0
    assert_equal(copied.state_dict(), kept.state_dict())
