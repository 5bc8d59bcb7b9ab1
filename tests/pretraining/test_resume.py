# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a run, it goes on: killed at any step, killed inside a write, damaged lists, signals."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from process_driver import METHODS, Pictures, build
from test_loop import assert_equal, weights
from test_processes import drive

from ssl4eo.checkpoints.training_state import load_latest, save_state
from ssl4eo.errors import CheckpointInvalid, RunStopped
from ssl4eo.files import read_jsonl
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.pretraining.step import Stepper
from ssl4eo.pretraining.stop import StopSignals, requeue

NAME = "moco_v2.vit_w48d2h3_8"
STEPS = np.random.default_rng(2026).choice(np.arange(1, 12), 2, replace=False).tolist()


def run(out, *, resume=False, count=18, **engine):
    """Run or go on in this process."""
    return pretrain(build(NAME, **engine), Pictures(count), out, resume=resume, quiet=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(out)
    return out


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_ends_with_the_same_bits(step, whole, tmp_path):
    """SIGKILL before a step drawn at random, a checkpoint at each: --resume repeats nothing and changes nothing."""
    act = [{"step": step, "rank": 0, "signal": signal.SIGKILL}]
    killed = drive(tmp_path / "run", NAME, engine={"save_minutes": 0.0}, act=act)

    run(tmp_path / "run", resume=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    steps = [r["step"] for r in read_jsonl(tmp_path / "run" / "log.jsonl") if r["kind"] == "step"]
    assert steps == list(range(1, 13))
    assert_equal(weights(tmp_path / "run"), weights(whole))


def test_killed_inside_a_checkpoint_it_ends_with_the_same_bits(whole, tmp_path):
    """Half of the fifth checkpoint is on disk: the fourth is used, and the half is swept away."""
    killed = drive(tmp_path / "run", NAME, engine={"save_minutes": 0.0}, die_saving=5)
    folder = tmp_path / "run" / "checkpoints"
    left = list(folder.glob(".*.partial"))
    state = load_latest(tmp_path / "run")

    run(tmp_path / "run", resume=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(left) == 1
    assert state.step == 4
    assert not list(folder.glob(".*.partial"))
    assert_equal(weights(tmp_path / "run"), weights(whole))


class Killed(BaseException):
    """Ends a run where it is, as a signal would that nobody can catch."""


def dropping(config):
    """Let the student skip blocks at random, where the method can have that."""
    if not hasattr(config.method, "drop_path"):
        return config
    return dataclasses.replace(config, method=dataclasses.replace(config.method, drop_path=0.3))


@pytest.mark.parametrize("name", [name for name in METHODS if "moco_v2" not in name])
def test_each_method_goes_on_with_the_same_bits(name, tmp_path, monkeypatch):
    """Ended inside the second epoch: queue, centre, teacher and optimizer end as in the run that was left alone."""
    config, take = dropping(build(name, epochs=2, save_minutes=0.0)), Stepper.__call__

    def step(self, batch, moment):
        if moment.step == 5:
            raise Killed
        return take(self, batch, moment)

    pretrain(config, Pictures(), tmp_path / "whole", quiet=True)
    monkeypatch.setattr(Stepper, "__call__", step)
    with pytest.raises(Killed):
        pretrain(config, Pictures(), tmp_path / "run", quiet=True)
    monkeypatch.setattr(Stepper, "__call__", take)
    assert load_latest(tmp_path / "run").step == 5

    pretrain(config, Pictures(), tmp_path / "run", resume=True, quiet=True)

    found, expected = (load_latest(tmp_path / run) for run in ("run", "whole"))
    assert_equal(found.method, expected.method)
    assert_equal_states(found.optimizer["state"], expected.optimizer["state"])
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert health(tmp_path / "run") == health(tmp_path / "whole")


def health(run):
    """Give what each line of the log says of the embeddings."""
    names = ("step", "feature_std", "effective_rank", "rankme")
    return [[row[name] for name in names] for row in read_jsonl(run / "log.jsonl") if row["kind"] == "step"]


def assert_equal_states(first, second):
    """Compare what an optimizer keeps of each parameter, bit by bit."""
    assert first.keys() == second.keys()
    for number, values in first.items():
        assert_equal(values, second[number])


@pytest.mark.parametrize("content", [None, "", '[{"file": "step-0000', '{"a": 1}', '[{"step": 3}]', "[]", "{}"])
def test_list_of_checkpoints_cut_short_or_lost_is_done_without(content, tmp_path, caplog):
    """The files beside it are tried, newest first, with a warning."""
    run(tmp_path / "run", epochs=2)
    index = tmp_path / "run" / "checkpoints" / "index.json"
    index.unlink() if content is None else index.write_text(content)

    state = load_latest(tmp_path / "run")

    assert state.step == 8
    assert "no list of checkpoints" in caplog.text


@pytest.mark.parametrize("content", [None, "[]"])
def test_files_that_a_user_put_beside_checkpoints_are_let_alone(content, tmp_path):
    """Copies under other names and folders are neither tried nor dropped, with a list and without."""
    out = tmp_path / "run"
    run(out, epochs=1)
    folder = out / "checkpoints"
    (folder / "step-best.pt").write_bytes(b"a copy")
    (folder / "step-00000009.pt").mkdir()
    if content is not None:
        (folder / "index.json").write_text(content)

    state = load_latest(out)
    (out / "backbone.safetensors").unlink()
    save_state(out, dataclasses.replace(state, step=5))

    assert state.step == 4
    assert {path.name for path in folder.iterdir()} == {
        "index.json",
        "step-00000004.pt",
        "step-00000005.pt",
        "step-00000009.pt",
        "step-best.pt",
    }


def test_run_without_its_checkpoints_begins_anew_and_says_so(tmp_path, caplog, whole):
    """On stderr and in the log; it ends as any run of this config."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "backbone.safetensors").unlink()
    shutil.rmtree(out / "checkpoints")

    run(out, resume=True)

    assert "has no checkpoint: the run begins anew" in caplog.text
    assert_equal(weights(out), weights(whole))


def test_list_and_latest_checkpoint_cut_short_fall_back_to_the_one_before(tmp_path, caplog):
    """Without hashes a file that is cut short is still noticed."""
    run(tmp_path / "run", epochs=2)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "index.json").write_text("")
    latest = folder / "step-00000008.pt"
    latest.write_bytes(latest.read_bytes()[:-1000])

    state = load_latest(tmp_path / "run")

    assert state.step == 4
    assert "step-00000008.pt cannot be used" in caplog.text


def test_checkpoints_after_the_one_that_was_used_do_not_come_back(tmp_path):
    """A run that fell back writes step 5; a later step of the damaged past is no longer listed."""
    run(tmp_path / "run", epochs=2)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "step-00000008.pt").write_bytes(b"damaged")
    act = [{"step": 5, "rank": 0, "signal": signal.SIGTERM}]

    drive(tmp_path / "run", NAME, engine={"epochs": 2}, act=act, resume=True)

    assert [row["step"] for row in json.loads((folder / "index.json").read_text())] == [4, 6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_ends_the_step_and_leaves_a_checkpoint(number, whole, tmp_path, monkeypatch):
    """At a known step: that step is done, kept, and the run goes on with the same bits; old handlers are back."""
    take, before = Stepper.__call__, signal.getsignal(number)

    def step(self, batch, moment):
        if moment.step == 5:
            os.kill(os.getpid(), number)
        return take(self, batch, moment)

    monkeypatch.setattr(Stepper, "__call__", step)

    with pytest.raises(RunStopped, match=f"{number.name} after step 6"):
        run(tmp_path / "run")
    monkeypatch.setattr(Stepper, "__call__", take)
    state = load_latest(tmp_path / "run")
    run(tmp_path / "run", resume=True)

    assert signal.getsignal(number) is before
    assert state.step == 6
    assert_equal(weights(tmp_path / "run"), weights(whole))


def test_last_step_ends_the_run_whatever_was_asked(tmp_path, monkeypatch):
    """A signal in the last step: nothing is left to stop."""
    take = Stepper.__call__

    def step(self, batch, moment):
        if moment.step == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, batch, moment)

    monkeypatch.setattr(Stepper, "__call__", step)

    assert run(tmp_path / "run").steps == 12


def test_queue_that_refuses_is_told(tmp_path, monkeypatch, caplog):
    """No SLURM, no scontrol, a scontrol that fails: the reason is in the log and the run ends all the same."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    requeue()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    requeue()
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho Access denied >&2\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    requeue()

    assert "there is no SLURM job here" in caplog.text
    assert "there is no scontrol here" in caplog.text
    assert "Access denied" in caplog.text


def test_signals_outside_the_block_are_not_ours():
    """Nothing is noted that nobody sent."""
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.received is signal.SIGUSR1


def test_other_parts_and_processes_are_allowed_and_told(tmp_path, caplog):
    """Two parts in place of one: the run goes on and says what is no longer exact; another batch is refused."""
    run(tmp_path / "run", epochs=1)
    (tmp_path / "run" / "backbone.safetensors").unlink()

    run(tmp_path / "run", epochs=1, accumulate=2, activation_checkpointing=True, resume=True)

    assert "engine.accumulate 1, now 2" in caplog.text
    resumed = [r for r in read_jsonl(tmp_path / "run" / "log.jsonl") if r["kind"] == "resume"]
    assert resumed[0]["changed"][0].startswith("engine.accumulate")
    with pytest.raises(CheckpointInvalid, match=r"engine\.batch_size 4, now 8"):
        run(tmp_path / "run", epochs=1, batch_size=8, resume=True)


def test_run_goes_on_with_the_device_that_auto_stood_for(tmp_path, caplog):
    """Started with auto on a machine without a GPU, continued with cpu: nothing has changed."""
    auto = {} if torch.cuda.is_available() else {"accelerator": "auto"}
    run(tmp_path / "run", epochs=1, **auto)

    pretrain(build(NAME, epochs=1, accelerator="cpu"), Pictures(18), tmp_path / "run", resume=True, quiet=True)

    assert "goes on with another" not in caplog.text


def test_run_that_is_older_than_an_option_goes_on(tmp_path):
    """Before there was init_from every run began at random weights."""
    run(tmp_path / "run", epochs=1)
    folder = tmp_path / "run" / "checkpoints"
    rows = json.loads((folder / "index.json").read_text())
    state = torch.load(folder / rows[-1]["file"], weights_only=True)
    del state["config"]["init_from"], state["watching"]
    torch.save(state, folder / rows[-1]["file"])
    (folder / "index.json").unlink()
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    del stored["config"]["init_from"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(stored))

    assert run(tmp_path / "run", epochs=1, resume=True).steps == 4


def test_command_line_ends_with_status_75(tmp_path):
    """A run that was asked to stop ends with a status of its own."""
    code = (
        "import sys; from ssl4eo import cli; from ssl4eo.errors import RunStopped\n"
        "def stopped(arguments): raise RunStopped('SIGTERM after step 6')\n"
        "cli._dispatch = stopped\n"
        "sys.exit(cli.main(['pretrain']))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 75
    assert done.stderr == "ssl4eo: SIGTERM after step 6\n"
