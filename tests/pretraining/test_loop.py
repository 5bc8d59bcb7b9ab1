# SPDX-License-Identifier: Apache-2.0
"""The loop: learns, watches, survives SIGKILL with bit-identical weights, refuses other runs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from forked import run_forked
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.training_state import load_latest, save_state
from ssl4eo.contract import stored
from ssl4eo.errors import (
    Busy,
    CheckpointInvalid,
    ConfigInvalid,
    ContractMismatch,
    TargetExists,
    TrainingDiverged,
    WriteFailed,
)
from ssl4eo.evaluation.online import Reading
from ssl4eo.files import exclusive, read_jsonl
from ssl4eo.form import Form
from ssl4eo.loading.sampler import Order
from ssl4eo.methods.moco_v2 import MoCoV2, MoCoV2Config
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.recipes.table import recipe
from ssl4eo.report.records import read_log
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.training.schedule import ScheduleConfig

READING = Reading(knn=0.5, linear=0.75, feature_std=1.0, effective_rank=9.0)


class Noise:
    """Random pictures with two dates; kills its own process when it is asked for the n-th time, if told to."""

    title, synthetic, num_seasons = "noise", True, 2
    contract = stored("S2RGB")
    form = Form.native("S2RGB")

    def __init__(self, count=16, die_at=None, identity="a"):
        """Draw the pictures."""
        self.count, self.die_at, self.asked, self.identity = count, die_at, 0, identity
        self.images = np.random.default_rng(0).integers(0, 256, (count, 2, 3, 32, 32)).astype(np.uint8)

    def __len__(self):
        """Count them."""
        return self.count

    def id_of(self, index):
        """Name one."""
        return f"noise-{index:02d}"

    def pixels(self, index, season, *, resolutions=None):
        """Give one, or die."""
        self.asked += 1
        if self.asked == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return {10: self.images[index, season]}


def config(epochs=3, backbone="vit_w48d2h3_8", **engine):
    """Make a run of 4 steps an epoch on 32 px views; the network is as small as can be."""
    base = recipe("moco_v2.resnet18.s2rgb.tiny").config()
    view = dataclasses.replace(base.views.view, size=32)
    options = {"epochs": epochs, "batch_size": 4, "log_every": 1, "save_every": 1, "probe_every": 1} | engine
    return dataclasses.replace(
        base,
        backbone=backbone,
        method=MoCoV2Config(dim=16, queue_size=16, momentum=0.9, temperature=0.2),
        views=dataclasses.replace(base.views, view=view),
        engine=dataclasses.replace(base.engine, **options),
    )


def weights(run):
    """Read the weights that a run left."""
    return load_backbone(run).state_dict()


def assert_equal(first, second):
    """Compare bit by bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_pictures_with_data_in_a_corner_only_train_through(tmp_path):
    """Three quarters of each side is nodata: crops that lie in it are drawn again, and no step is lost."""
    source = Noise()
    source.images[..., 8:, :], source.images[..., 8:] = 0, 0

    result = pretrain(config(epochs=1, probe_every=0), source, tmp_path / "run", quiet=True)

    assert result.steps == 4


def die_reading(read, out, engine):
    """Be a run that is killed while it reads."""
    pretrain(config(**engine), Noise(die_at=read), out, quiet=True)


@pytest.mark.parametrize(
    ("backbone", "precision", "save_minutes", "kept"),
    [
        ("vit_w48d2h3_8", "bf16-mixed", 10.0, {4}),  # convolutions take long where a processor has to emulate bf16
        pytest.param("resnet18", "32-true", 10.0, {4}, marks=pytest.mark.slow),
        ("test_resnet", "32-true", 0.0, {5, 6, 7}),
    ],
)
def test_killed_run_resumes_to_bit_identical_weights(tmp_path, backbone, precision, save_minutes, kept):
    """SIGKILL in the middle of the second epoch; --resume ends where the undisturbed run ended, bit by bit.

    With a checkpoint at each step it goes on at the very next sample, inside the epoch.
    """
    undisturbed = config(backbone=backbone, precision=precision)
    whole = pretrain(undisturbed, Noise(), tmp_path / "whole", quiet=True)
    engine = {"backbone": backbone, "precision": precision, "save_minutes": save_minutes}
    # Views of two seasons cost 4 to 8 reads a step: read 45 falls into epoch 2 of 3.
    dying = run_forked(die_reading, 45, tmp_path / "killed", engine, folder=tmp_path / "told")

    state = load_latest(tmp_path / "killed")
    result = pretrain(undisturbed, Noise(), tmp_path / "killed", resume=True, quiet=True)

    assert dying.returncode == -signal.SIGKILL, dying.stderr
    assert state is not None
    assert state.step in kept
    rows = list(read_jsonl(tmp_path / "killed" / "log.jsonl"))
    done_before = max(r["step"] for r in rows[: [r["kind"] for r in rows].index("resume")])
    assert done_before in (5, 6, 7)  # it died inside the second epoch
    assert result.steps == whole.steps == 12
    assert_equal(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


NOT_NEEDED = ("sklearn", "torchmetrics", "matplotlib", "scipy.signal", "scipy.stats")


def num_loaded_in_vain():
    """Count, as the status of a process that has loaded what `ssl4eo pretrain` loads, what it will not use."""
    importlib.import_module("ssl4eo.pretraining.data")
    return sum(name in sys.modules for name in NOT_NEEDED)


def test_a_run_starts_without_what_only_judging_needs(tmp_path):
    """Each takes a second or more to load, at each start and in each process."""
    assert run_forked(num_loaded_in_vain, folder=tmp_path).returncode == 0


def test_workers_and_logging_do_not_touch_the_weights(tmp_path):
    """Options that a resumed run may change leave the result alone."""
    pretrain(config(epochs=1), Noise(), tmp_path / "a", quiet=True)
    pretrain(config(epochs=1, num_workers=1, log_every=3), Noise(), tmp_path / "b", quiet=True)

    assert_equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_run_leaves_a_record(tmp_path):
    """Config, data, versions, log and a backbone with its contract."""
    calls = []
    pretrain(config(epochs=2), Noise(), tmp_path / "run", probe=lambda b: calls.append(b) or READING, quiet=True)

    stored_config = json.loads((tmp_path / "run" / "config.json").read_text())
    rows = list(read_jsonl(tmp_path / "run" / "log.jsonl"))
    assert stored_config["config"]["optimizer"]["lr"] == 0.001
    assert stored_config["data"]["synthetic"] is True
    assert stored_config["environment"]["torch"] == torch.__version__.split("+")[0]
    assert [r["step"] for r in rows if r["kind"] == "step"] == list(range(1, 9))
    assert [r["accuracy"] for r in rows if r["kind"] == "knn"] == [0.5, 0.5, 0.5]
    assert [r["step"] for r in rows if r["kind"] == "knn"] == [0, 4, 8]
    assert [(r["step"], r["accuracy"]) for r in rows if r["kind"] == "probe"] == [(0, 0.75), (4, 0.75), (8, 0.75)]
    assert len(calls) == 3
    told = read_log(tmp_path / "run" / "log.jsonl")
    assert ([p.step for p in told.knn], len(told.steps)) == ([0, 4, 8], 8)  # the report reads what a run writes
    assert load_backbone(tmp_path / "run").contract == config().contract


def test_existing_run_is_not_overwritten(tmp_path):
    """Without --resume a run's folder is refused and stays as it is."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    before = weights(tmp_path / "run")

    with pytest.raises(TargetExists, match="--resume"):
        pretrain(config(epochs=1, seed=1), Noise(), tmp_path / "run", quiet=True)

    assert_equal(weights(tmp_path / "run"), before)


def test_folder_with_other_files_is_refused(tmp_path):
    """A run does not mix with what somebody keeps."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(TargetExists, match="other files"):
        pretrain(config(), Noise(), tmp_path, quiet=True)


def test_checkpoint_of_another_recipe_is_refused(tmp_path):
    """Resuming with another option or other data names what differs."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    other = dataclasses.replace(config(epochs=1), optimizer=dataclasses.replace(config().optimizer, lr=1.0))

    with pytest.raises(CheckpointInvalid, match=r"optimizer\.lr 0\.001, now 1\.0"):
        pretrain(other, Noise(), tmp_path / "run", resume=True, quiet=True)
    with pytest.raises(CheckpointInvalid, match="it is of 16 items, these are 20"):
        pretrain(config(epochs=1), Noise(20), tmp_path / "run", resume=True, quiet=True)
    with pytest.raises(CheckpointInvalid, match="it is of other items"):
        pretrain(config(epochs=1), Noise(identity="b"), tmp_path / "run", resume=True, quiet=True)
    renamed = Noise()
    renamed.title = "the same under another name"
    assert pretrain(config(epochs=1), renamed, tmp_path / "run", resume=True, quiet=True).steps == 4


def test_damaged_latest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    """A flipped byte is noticed, told, and the run before it is used."""
    pretrain(config(epochs=2), Noise(), tmp_path / "run", quiet=True)
    latest = tmp_path / "run" / "checkpoints" / "step-00000008.pt"
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    latest.write_bytes(content)

    state = load_latest(tmp_path / "run")

    assert state is not None
    assert state.step == 4
    assert "step-00000008.pt cannot be used" in caplog.text


def test_all_checkpoints_damaged_is_an_error(tmp_path):
    """Nothing is silently started anew."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(CheckpointInvalid, match="none of the 1"):
        pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)


def test_finished_run_resumed_stays_as_it_is(tmp_path):
    """Nothing is left to do, and nothing changes."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    before = weights(tmp_path / "run")

    result = pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)

    assert result.steps == 4
    assert math.isfinite(result.last_loss)
    assert_equal(weights(tmp_path / "run"), before)


def test_start_that_failed_can_be_corrected(tmp_path):
    """A folder in which no step was done is no run: the corrected command starts in it."""
    with pytest.raises(ZeroDivisionError):
        pretrain(config(), Noise(), tmp_path / "run", probe=lambda _: 1 / 0, quiet=True)

    result = pretrain(config(epochs=1, seed=7), Noise(), tmp_path / "run", quiet=True)

    assert result.steps == 4
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["engine"]["seed"] == 7


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 1 vs 2")])
def test_full_disk_is_told_and_the_last_checkpoint_stays(tmp_path, monkeypatch, failure):
    """Torch hides a full disk in a RuntimeError; either way the remedy is said and the run can go on."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    before = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    state = load_latest(tmp_path / "run")

    def fail(values, path):
        Path(path).write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(WriteFailed, match=r"(No space left on device|MB are free there)\).*: free some space"):
        save_state(tmp_path / "run", dataclasses.replace(state, step=99))

    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == before


def test_backbone_has_the_rights_of_other_files(tmp_path):
    """Colleagues can read what a run leaves."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)

    modes = {(tmp_path / "run" / name).stat().st_mode for name in ("config.json", "backbone.safetensors")}

    assert len(modes) == 1


@pytest.mark.parametrize(
    "engine",
    [
        {"seed": 2**32},
        {"devices": 0},
        {"accumulate": 3},
        {"num_nodes": 0},
        {"save_minutes": -1.0},
        {"epochs": 0},
        {"batch_size": 1},
        {"log_every": 0},
    ],
)
def test_impossible_engine_is_refused(engine):
    """Each number has its range."""
    with pytest.raises(ConfigInvalid):
        config(**engine)


@pytest.mark.parametrize("accelerator", ["tpu9", "gpu", "tpu"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_accelerator_that_is_not_there_is_refused_before_anything_is_written(tmp_path, accelerator):
    """The message names the option and the remedy."""
    with pytest.raises(ConfigInvalid, match="accelerator"):
        pretrain(config(accelerator=accelerator), Noise(), tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dim", [10**12, 10**18, 10**30])
def test_network_that_fits_no_memory_is_refused_before_anything_is_written(tmp_path, dim):
    """The message has the sizes that were asked for; a machine may give 2 PB one day, and not 2 EB."""
    huge = dataclasses.replace(config(), method=dataclasses.replace(config().method, dim=dim))

    with pytest.raises(ConfigInvalid, match=rf"vit_w48d2h3_8 .*method\.dim {dim}, method\.queue_size 16"):
        pretrain(huge, Noise(), tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()


def test_run_that_goes_on_from_nothing_says_so(tmp_path, monkeypatch):
    """A full disk at the first checkpoint: the run begins anew, and a reader of the log drops what was thrown away."""

    def fail(values, path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(torch, "save", fail)
        with pytest.raises(WriteFailed):
            pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)

    pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)

    rows = list(read_jsonl(tmp_path / "run" / "log.jsonl"))
    assert [(r["kind"], r["step"]) for r in rows] == [
        *(("step", n) for n in (1, 2, 3, 4)),
        ("resume", 0),
        *(("step", n) for n in (1, 2, 3, 4)),
    ]
    told = read_log(tmp_path / "run" / "log.jsonl")
    assert (told.resumes, [s.step for s in told.steps]) == ((0,), [1, 2, 3, 4])


def test_run_without_its_config_is_not_taken_for_other_files(tmp_path):
    """The message says what is missing, with --resume and without."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    (tmp_path / "run" / "config.json").unlink()

    for resume in (True, False):
        with pytest.raises(CheckpointInvalid, match=r"checkpoints, but no config\.json.*another --out"):
            pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=resume, quiet=True)

    assert load_latest(tmp_path / "run").step == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n"config": {', "line 2 is not JSON"),
        ("\udcff\udcfe", "it is no text, or no JSON"),
        ("[" * 100_000, "it is no text, or no JSON"),
        ("[]", "it is [], no JSON object"),
        ("3", "it is 3, no JSON object"),
        ("null", "it is None, no JSON object"),
        ('{"config": [], "data": 3}', "config is [], no JSON object"),
        ('{"config": {}, "data": []}', "it has no config.recipe"),
        ('{"data": {}}', "it has no config"),
    ],
)
def test_config_that_no_run_wrote_is_told(tmp_path, text, words):
    """Torn, or JSON of another form: what is wrong with it and what to do, and the run's checkpoint stays."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    (tmp_path / "run" / "config.json").write_bytes(text.encode(errors="surrogateescape"))

    words = re.escape(f"config.json is damaged: {words}; expected")
    with pytest.raises(CheckpointInvalid, match=words + r".*put a copy of it back, or .*another --out$"):
        pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)

    assert load_latest(tmp_path / "run").step == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": 3}, "config.views is 3, no JSON object"),
        ({"method": None}, "config.method is None, no JSON object"),
        ({"views": {"view": 5}}, "config.views.view is 5, no JSON object"),
    ],
)
def test_damaged_options_of_a_run_are_not_another_run(tmp_path, changes, words):
    """What is damaged is named alone, not every option below it."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    path = tmp_path / "run" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "config": {**values["config"], **changes}}))

    with pytest.raises(CheckpointInvalid, match=re.escape(f"config.json is damaged: {words}; expected")):
        pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)


@pytest.mark.parametrize(
    "line",
    [
        '{"kind":"step"}',
        '{"kind":"step","step":"x","loss":"y"}',
        '{"kind":"step","step":3,"loss":null}',
        '{"kind":"step","step":true,"loss":[1]}',
        "[1]",
        "5",
        '{"step": 3}',
        "{",
    ],
)
def test_lines_of_the_log_that_no_run_wrote_keep_none_from_going_on(tmp_path, caplog, line):
    """Weights do not depend on the log: its line is named, the last loss is that of the line before."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    path = tmp_path / "run" / "log.jsonl"
    last = list(read_jsonl(path))[-1]
    path.write_text(path.read_text() + line + "\n")

    result = pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)

    assert result.last_loss == last["loss"]
    assert f"lines 5 of {path} cannot be read" in caplog.text


def test_log_of_unreadable_lines_is_not_thrown_away(tmp_path):
    """A run of which nothing else is left has begun nevertheless."""
    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "backbone.safetensors").unlink()
    (tmp_path / "run" / "log.jsonl").write_text("[1]\n")

    with pytest.raises(TargetExists, match="holds a run"):
        pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)


def test_log_that_is_a_folder_is_told(tmp_path):
    """By its name, and with the remedy."""
    (tmp_path / "run" / "log.jsonl").mkdir(parents=True)

    with pytest.raises(TargetExists, match=r"log\.jsonl is a folder; expected the file.*: move it away"):
        pretrain(config(epochs=1), Noise(), tmp_path / "run", resume=True, quiet=True)


@pytest.mark.parametrize(("out", "kind"), [("thesis.txt", TargetExists), ("thesis.txt/run", WriteFailed)])
def test_folder_that_cannot_be_is_told(tmp_path, out, kind):
    """In words, and with the remedy."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(kind, match=r"thesis\.txt.*expected.*another --out"):
        pretrain(config(), Noise(), tmp_path / out, quiet=True)


def test_second_writer_is_refused(tmp_path):
    """One process trains in a folder."""
    with exclusive(tmp_path / "run" / ".lock"), pytest.raises(Busy):
        pretrain(config(), Noise(), tmp_path / "run", quiet=True)


def test_infinite_loss_stops_the_run_and_names_the_batch(tmp_path):
    """A diverged run says which samples it saw, and how to go on."""
    wild = dataclasses.replace(config(), optimizer=dataclasses.replace(config().optimizer, lr=1e30))

    with pytest.raises(TrainingDiverged, match=r"lower optimizer\.lr"):
        pretrain(wild, Noise(), tmp_path / "run", quiet=True)

    last = list(read_jsonl(tmp_path / "run" / "log.jsonl"))[-1]
    assert last["kind"] == "diverged"
    assert last["ids"] == [f"noise-{i:02d}" for i in last["index"]]
    order = list(Order(16, 4, 0).batches(0, 12))
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())["batches"]
    assert kept[-1]["step"] == last["step"]
    assert [row["index"] for row in kept] == [[i for _, i in order[row["step"] - 1]] for row in kept]


def test_loss_is_looked_at_between_the_lines_of_the_log(tmp_path, monkeypatch):
    """The very step is named, though the next line is due much later, and its weights are not kept."""
    from ssl4eo.methods.method import StepOutput

    forward, begun = MoCoV2.forward, []

    def broken(self, views, masks, moment):
        begun.append(moment.step)
        output = forward(self, views, masks, moment)
        loss = output.loss * (math.nan if moment.step == 5 else 1.0)
        return StepOutput(loss, output.embedding, output.metrics)

    monkeypatch.setattr(MoCoV2, "forward", broken)
    with pytest.raises(TrainingDiverged, match="at step 6") as told:
        pretrain(config(log_every=100), Noise(), tmp_path / "run", quiet=True)

    assert told.value.where["step"] == 6
    assert begun == [0, 1, 2, 3, 4, 5]  # no step after it, though the epoch has two more
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())["batches"]
    assert [row["step"] for row in kept] == [5, 6]
    assert load_latest(tmp_path / "run").step == 4


def broken_from(step, break_):
    """Make MoCo v2's forward pass with a loss that `break_` changes at one step."""
    from ssl4eo.methods.method import StepOutput

    forward = MoCoV2.forward

    def broken(self, views, masks, moment):
        output = forward(self, views, masks, moment)
        loss = break_(output.loss) if moment.step == step else output.loss
        return StepOutput(loss, output.embedding, output.metrics)

    return broken


def test_gradients_that_are_not_finite_stop_the_run_and_name_the_batch(tmp_path, monkeypatch):
    """At the step whose loss is still finite: sqrt has no gradient at 0, and its update would break the weights."""
    monkeypatch.setattr(MoCoV2, "forward", broken_from(5, lambda loss: loss + (0 * loss).sqrt()))

    with pytest.raises(TrainingDiverged, match="norm of the gradients is nan at step 6") as told:
        pretrain(config(log_every=100), Noise(), tmp_path / "run", quiet=True)

    assert told.value.where["step"] == 6
    order = list(Order(16, 4, 0).batches(0, 12))
    kept = json.loads((tmp_path / "run" / "diverged.json").read_text())["batches"]
    assert [row["index"] for row in kept] == [[i for _, i in order[row["step"] - 1]] for row in kept]
    assert (kept[-1]["step"], kept[-1]["grad_norm"]) == (6, "nan")
    assert math.isfinite(kept[-1]["loss"])
    assert load_latest(tmp_path / "run").step == 4


def test_weights_that_the_last_update_broke_are_not_kept(tmp_path):
    """One step, its loss and gradients finite, its rate beyond float32: neither a checkpoint nor a backbone."""
    optimizer = OptimizerConfig("sgd", lr=3e38, weight_decay=0.0, momentum=0.0)
    schedule = ScheduleConfig(final_fraction=1.0)
    base = config(epochs=1, backbone="resnet18", batch_size=16)
    steep = dataclasses.replace(base.method, temperature=0.01)  # gradients well above one
    wild = dataclasses.replace(base, method=steep, optimizer=optimizer, schedule=schedule)

    with pytest.raises(TrainingDiverged, match=r"method\..* is not finite at step 1"):
        pretrain(wild, Noise(), tmp_path / "run", quiet=True)

    last = list(read_jsonl(tmp_path / "run" / "log.jsonl"))[-1]
    assert (last["kind"], last["step"], sorted(last["index"])) == ("diverged", 1, list(range(16)))
    assert not list((tmp_path / "run").glob("checkpoints/*.pt"))
    assert not (tmp_path / "run" / "backbone.safetensors").exists()


def test_run_whose_weights_broke_goes_on_from_the_last_whole_ones(tmp_path, monkeypatch):
    """A fault at step 6 of a run that keeps every step: step 5 stays, and from there it ends as if undisturbed."""
    pretrain(config(), Noise(), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as fault:
        after_step = MoCoV2.after_step

        def broken(self, moment):
            after_step(self, moment)
            if moment.step == 5:
                self.queue.keys[3, 2] = math.nan

        fault.setattr(MoCoV2, "after_step", broken)
        with pytest.raises(TrainingDiverged, match=r"method\.queue\.keys is not finite at step 6"):
            pretrain(config(save_minutes=0.0), Noise(), tmp_path / "run", quiet=True)

    assert load_latest(tmp_path / "run").step == 5
    assert pretrain(config(), Noise(), tmp_path / "run", resume=True, quiet=True).steps == 12
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_diverged_start_can_be_corrected(tmp_path):
    """What a run left that diverged at its first step does not stand in the way of the corrected command."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "diverged.json").write_text("{}")

    pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)

    assert not (tmp_path / "run" / "diverged.json").exists()


def test_step_rows_tell_rates_of_the_stages_and_health(tmp_path):
    """Each number is there, positive, and the waiting a share; with a worker as without."""
    for workers in (0, 1):
        out = tmp_path / str(workers)
        pretrain(config(epochs=1, num_workers=workers), Noise(), out, quiet=True)

        rows = [r for r in read_jsonl(out / "log.jsonl") if r["kind"] == "step"]
        rates = ("read_per_second", "augment_per_second", "photometric_per_second", "compute_per_second")
        assert len(rows) == 4
        assert all(row[name] > 0 for row in rows for name in rates)
        assert all(0 <= row["waiting_share"] <= 1 for row in rows)
        assert all(
            {"grad_norm", "feature_std", "effective_rank", "rankme", "contrast_accuracy"} <= set(r) for r in rows
        )


def test_metric_near_its_bound_raises_the_alarm(tmp_path, monkeypatch):
    """A method that logs target_std is watched by that name alone."""
    from ssl4eo.methods.method import StepOutput

    forward = MoCoV2.forward

    def flat(self, views, masks, moment):
        output = forward(self, views, masks, moment)
        return StepOutput(output.loss, output.embedding, {"target_std": torch.tensor(1e-4)})

    monkeypatch.setattr(MoCoV2, "forward", flat)
    result = pretrain(config(epochs=1), Noise(), tmp_path / "run", quiet=True)

    assert [a for a in result.alarms if a.startswith("target_std is 0.0001")]
    assert len(result.alarms) == 1


def test_tensorboard_reads_the_numbers_of_the_log(tmp_path):
    """Each scalar comes back by TensorBoard's own reader, to float32."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "run"
    pretrain(config(epochs=1, tensorboard=True), Noise(), out, probe=lambda _: READING, quiet=True)

    events = accumulator.EventAccumulator(str(out / "tensorboard")).Reload()
    rows = [r for r in read_jsonl(out / "log.jsonl") if r["kind"] == "step"]
    for name in ("loss", "grad_norm", "rankme", "waiting_share"):
        written = [(e.step, e.value) for e in events.Scalars(f"step/{name}")]
        assert written == [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in rows]
    assert [e.value for e in events.Scalars("probe/linear")] == [0.75, 0.75]


def test_tensorboard_that_is_not_installed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    """The message names the extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigInvalid, match=r"ssl4eo\[tensorboard\]"):
        pretrain(config(tensorboard=True), Noise(), tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()


def test_collapse_raises_the_alarm_while_the_loss_still_falls(tmp_path, monkeypatch):
    """A network that maps all to one point is told, however well its loss does."""
    from ssl4eo.methods.method import StepOutput
    from ssl4eo.methods.moco_v2 import MoCoV2

    falling = iter(range(100, 0, -1))

    def collapsed(self, views, masks, moment):
        x = self.head(self.backbone(views[0]))
        loss = 0.0 * x.sum() + next(falling)
        return StepOutput(loss, torch.ones(4, 16) + 0.001 * x.detach().float(), {})

    monkeypatch.setattr(MoCoV2, "forward", collapsed)

    result = pretrain(config(epochs=2), Noise(), tmp_path / "run", quiet=True)

    rows = list(read_jsonl(tmp_path / "run" / "log.jsonl"))
    losses = [r["loss"] for r in rows if r["kind"] == "step"]
    assert losses == sorted(losses, reverse=True)
    assert len(result.alarms) == 1
    assert [r["message"] for r in rows if r["kind"] == "alarm"] == list(result.alarms)


def test_mismatched_data_is_refused_before_anything_is_written(tmp_path):
    """RGB pictures do not train a 13-band network."""
    thirteen = dataclasses.replace(
        recipe("moco_v2.resnet18.s2l1c.tiny").config(), engine=config().engine, method=config().method
    )

    with pytest.raises(ContractMismatch):
        pretrain(thirteen, Noise(), tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()


def test_queue_and_batch_must_fit(tmp_path):
    """A queue that is no multiple of the batch is refused with the config."""
    with pytest.raises(ConfigInvalid, match="queue_size"):
        config(batch_size=5)


def test_channels_last_gives_the_same_first_loss(tmp_path):
    """Memory layout changes speed, not numbers: the first loss agrees to float32 rounding through 18 layers."""
    losses = []
    for layout in (True, False):
        out = tmp_path / str(layout)
        pretrain(
            config(epochs=1, backbone="resnet18", precision="32-true", channels_last=layout), Noise(4), out, quiet=True
        )
        losses.append(next(r["loss"] for r in read_jsonl(out / "log.jsonl") if r["kind"] == "step"))

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(("warmup", "told"), [(0.5, False), (1.0, True)])
def test_warmup_as_long_as_the_run_is_told(tmp_path, caplog, warmup, told):
    """The learning rate would never get to its peak."""
    plain = config(epochs=1)
    short = dataclasses.replace(plain, schedule=dataclasses.replace(plain.schedule, warmup_epochs=warmup))

    pretrain(short, Noise(), tmp_path / "run", quiet=True)

    assert ("never gets to its peak" in caplog.text) == told


def test_a_run_that_is_refused_is_not_warned_of(tmp_path, caplog):
    """What is wrong comes first, and alone."""
    plain = config(epochs=1)
    short = dataclasses.replace(plain, schedule=dataclasses.replace(plain.schedule, warmup_epochs=2.0))
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(TargetExists):
        pretrain(short, Noise(), tmp_path, quiet=True)

    assert "never gets to its peak" not in caplog.text
