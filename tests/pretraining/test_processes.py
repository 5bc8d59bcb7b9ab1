# SPDX-License-Identifier: Apache-2.0
"""Several processes (gloo, on this machine) are one run: its losses, its samples, its errors, its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from process_driver import Pictures, build, main
from test_loop import assert_equal, weights

from forked import LONGEST_S, clean_environment, free_port, run_forked
from ssl4eo.checkpoints.training_state import load_latest
from ssl4eo.errors import ConfigInvalid, WorkerLost
from ssl4eo.files import read_jsonl
from ssl4eo.loading.sampler import Order
from ssl4eo.pretraining.launch import make_fabric
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.pretraining.together import Together
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.views.photometric import identity_row

DRIVER = Path(__file__).with_name("process_driver.py")
PYTHONPATH = os.pathsep.join(filter(None, (str(DRIVER.parents[1]), os.environ.get("PYTHONPATH"))))
"""The tests beside what is tested here, which need not be what is installed."""


def start(command, **environment):
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
        env=clean_environment(**environment),
    )


def launch(out, name="moco_v2.resnet18", *, engine, **told):
    """Run the driver as a command, which starts the other processes itself."""
    told = {"out": str(out), "name": name, "engine": engine} | told
    return start([str(DRIVER), json.dumps(told)], PYTHONPATH=PYTHONPATH)


def drive(out, name="moco_v2.resnet18", *, engine, environment=None, **told):
    """Run the driver in forked processes, as many as the engine says."""
    told = {"out": str(out), "name": name, "engine": engine} | told
    ranks, folder = engine.get("devices", 1), out.with_name(f"{out.name}-told")
    return run_forked(main, told, folder=folder, ranks=ranks, environment=environment or {})


def drive_each(folder, names, *, optimizer=None, **engine):
    """Run the driver once, a method after the other."""
    more = {} if optimizer is None else {"optimizer": optimizer}
    told = [{"out": str(folder / name), "name": name, "engine": engine} | more for name in names]
    return run_forked(main, *told, folder=folder / "told", ranks=engine["devices"])


def logged(run, field):
    """List what a run's log has under a name, step by step; nothing if the method does not tell it."""
    return [r[field] for r in read_jsonl(run / "log.jsonl") if r["kind"] == "step" and field in r]


def losses(run):
    """List the losses of a run's log."""
    return logged(run, "loss")


def alone(out, name, *, optimizer=None, **engine):
    """Run in this process."""
    optimizer = None if optimizer is None else OptimizerConfig(**optimizer)
    pretrain(build(name, optimizer, **engine), Pictures(), out, quiet=True)
    return out


def seen(run, rank):
    """Read what a process of the driver saw."""
    return torch.load(run.with_name(f"{run.name}-rank{rank}.pt"))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run of MoCo v2 in two processes, with a checkpoint at each step."""
    out = tmp_path_factory.mktemp("processes") / "both"
    done = drive(out, engine={"devices": 2})
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same run in one process."""
    return alone(tmp_path_factory.mktemp("alone") / "one", "moco_v2.resnet18")


def test_two_processes_have_the_losses_of_one(both, one):
    """Global batch norm, gathered keys and averaged gradients: the curve of one process, to float32 rounding.

    The first loss is one forward pass through 18 layers (1e-5). Later ones pass through weights that were rounded
    differently, by which batch norm over 4 samples multiplies differences: 3e-4 was seen after 7 steps.
    """
    expected = losses(one)

    found = losses(both)

    assert len(found) == 12
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.fixture(scope="module")
def each(tmp_path_factory):
    """A run of each other method in two processes, which start once for all of them."""
    folder = tmp_path_factory.mktemp("each")
    done = drive_each(folder, CLOSE, devices=2, batch_size=8)
    assert done.returncode == 0, done.stderr
    return folder


CLOSE = {
    "moco_v2.vit_w48d2h3_8": 1e-5,
    "moco_v3.vit_w48d2h3_8": 1e-3,
    "dino.vit_w48d2h3_8": 1e-4,
    "mae.vit_w48d2h3_8": 1e-5,
    "data2vec.vit_w48d2h3_8": 1e-5,
    "data2vec_batch.vit_w48d2h3_8": 1e-5,
}
"""Method -> largest relative difference of a loss from that of one process, over 6 steps.

1e-5 is float32 through a network, where what a process adds to the sum is a mean of equally many rows; 2e-7 was seen.
MoCo v3's heads norm over 8 rows, a transformer's class tokens of untrained weights are alike, and so rounding grows:
9e-5 was seen, as much as weights that are changed by 1e-7 give in one process. DINO's loss is a difference of numbers a
hundred times as large once a softmax is nearly sure.
"""


METRICS = ("target_std", "prediction_std", "teacher_entropy", "loss_1_to_2", "loss_2_to_1")
"""What methods tell beside their loss: of all samples, so that it is the same however many processes there are."""


@pytest.mark.parametrize("name", CLOSE)
def test_two_processes_have_the_losses_of_one_with_each_method(name, each, tmp_path):
    """Gathered keys, DINO's centre, targets normed over the batch: curve, metrics and state of one process."""
    one = alone(tmp_path / "one", name, batch_size=8)

    found, expected = losses(each / name), losses(one)

    assert len(found) == 6
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found == pytest.approx(expected, rel=CLOSE[name])
    for metric in METRICS:
        assert logged(each / name, metric) == pytest.approx(logged(one, metric), rel=CLOSE[name]), metric
    state, whole = load_latest(each / name).method, load_latest(one).method
    assert state.keys() == whole.keys()
    for key, value in state.items():
        torch.testing.assert_close(value, whole[key], rtol=CLOSE[name], atol=CLOSE[name])
    first, second = (seen(each / name, rank)["buffers"] for rank in (0, 1))
    assert_equal(first, second)


def test_two_processes_fill_the_queue_in_the_order_of_one(both, one):
    """Both hold all keys, bit for bit the same, and at the rows where one process has them (cosine above 0.999)."""
    state = load_latest(one)

    first, second = (seen(both, rank)["buffers"]["queue.keys"] for rank in (0, 1))

    assert torch.equal(first, second)
    expected = state.method["queue.keys"]
    assert float((first * expected).sum(dim=1).min()) > 0.999
    assert float((first @ expected.T - torch.eye(16)).abs().max()) > 0.01  # rows differ: another order would be seen


def test_processes_share_samples_and_random_numbers_out(both):
    """Each global batch is cut in two, every item is seen once an epoch, 2 of 18 wait; no view is drawn twice."""
    order = Order(18, 4, seed=0)
    first, second = seen(both, 0)["steps"], seen(both, 1)["steps"]

    for batch, (_, own, seed, _), (_, others, other_seed, _) in zip(order.batches(0, 12), first, second, strict=True):
        assert own + others == [index for _, index in batch]
        assert seed != other_seed
    strengths = torch.cat([strength for rank in (first, second) for *_, strength in rank])
    unchanged = identity_row(3).tolist()
    changed = [tuple(row) for row in strengths.tolist() if row != unchanged]  # 0.8 of them
    assert len(changed) == len(set(changed)) > 30
    for epoch in range(3):
        items = [i for rank in (first, second) for _, own, _, _ in rank[4 * epoch : 4 * epoch + 4] for i in own]
        assert len(items) == len(set(items)) == 16


def test_only_the_first_process_writes(both):
    """One line a step, one config, no trace of the other process."""
    rows = [r["step"] for r in read_jsonl(both / "log.jsonl")]

    assert rows == list(range(1, 13))
    left = {path.name for path in both.iterdir()}
    assert left == {".lock", "backbone.safetensors", "checkpoints", "config.json", "log.jsonl"}


@pytest.mark.parametrize("name", ["moco_v2.vit_w48d2h3_8"])
def test_cut_weights_have_the_losses_of_whole_ones(name, tmp_path):
    """FSDP in two processes, in two parts: losses, kept weights and checkpoint of one process, to float32 rounding."""
    engine = {"epochs": 2, "accumulate": 2, "batch_size": 8, "log_every": 1}
    expected = alone(tmp_path / "one", name, **engine)

    done = drive(tmp_path / "cut", name, engine=engine | {"devices": 2, "strategy": "fsdp"})

    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "cut") == pytest.approx(losses(expected), rel=1e-4)
    one, two = load_latest(expected), load_latest(tmp_path / "cut")
    assert one.method.keys() == two.method.keys()
    for part in (weights(tmp_path / "cut"), two.method):
        same = weights(expected) if part is not two.method else one.method
        for key, value in part.items():
            torch.testing.assert_close(value, same[key], rtol=1e-3, atol=1e-4)


ADAMW = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}
CUT = {"devices": 2, "strategy": "fsdp", "batch_size": 8}


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run of each method that is a transformer in two processes that share its weights out, by AdamW."""
    folder = tmp_path_factory.mktemp("cut")
    done = drive_each(folder, CLOSE, optimizer=ADAMW, **CUT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSE)
def test_cut_weights_have_the_losses_of_whole_ones_with_each_method(name, cut, tmp_path):
    """AdamW divides by what it has seen, so differences of rounding grow sooner: three times the bound of SGD."""
    one = alone(tmp_path / "one", name, optimizer=ADAMW, batch_size=8)

    assert losses(cut / name) == pytest.approx(losses(one), rel=3 * CLOSE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data2vec.vit_w48d2h3_8"])
def test_killed_run_of_cut_weights_resumes_bit_by_bit(name, cut, tmp_path):
    """SIGKILL of a process: with as many the weights of the undisturbed run, with one process and back its losses."""
    out, moved = tmp_path / "killed", tmp_path / "moved"
    act = [{"step": 3, "rank": 1, "signal": signal.SIGKILL}]
    alone = {"batch_size": 8, "save_minutes": 0.0}

    killed = launch(out, name, engine=CUT | {"save_minutes": 0.0}, act=act, optimizer=ADAMW)
    shutil.copytree(out, moved)
    resumed = drive(out, name, engine=CUT, resume=True, optimizer=ADAMW)
    act = [{"step": 4, "rank": 0, "signal": signal.SIGKILL}]
    drive(moved, name, engine=alone, resume=True, act=act, optimizer=ADAMW)
    back = drive(moved, name, engine=CUT, resume=True, optimizer=ADAMW)

    assert killed.returncode == 1, killed.stderr
    assert resumed.returncode == back.returncode == 0, resumed.stderr + back.stderr
    assert [r["step"] for r in read_jsonl(out / "log.jsonl") if r["kind"] == "resume"] == [3]
    assert [r["step"] for r in read_jsonl(moved / "log.jsonl") if r["kind"] == "resume"] == [3, 4]
    assert_equal(weights(out), weights(cut / name))
    assert losses(moved) == pytest.approx(losses(cut / name), rel=CLOSE[name])


def test_killed_process_ends_the_others_and_the_run_resumes_bit_by_bit(both, tmp_path):
    """SIGKILL of the second process: the first ends with a message; --resume gives the undisturbed run's weights."""
    out = tmp_path / "killed"
    act = [{"step": 6, "rank": 1, "signal": signal.SIGKILL}]

    killed = launch(out, engine={"devices": 2, "save_minutes": 0.0}, act=act)
    resumed = drive(out, engine={"devices": 2}, resume=True)

    assert killed.returncode == 1, killed.stderr
    assert "process 0 of 2 lost another one" in killed.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert [r["step"] for r in read_jsonl(out / "log.jsonl") if r["kind"] == "resume"] == [6]
    assert_equal(weights(out), weights(both))


def test_signal_to_one_process_stops_all_and_one_process_goes_on(both, tmp_path, caplog):
    """SIGUSR1 to the second process: both end after the same step; one process goes on with the same samples."""
    out, scontrol = tmp_path / "stopped", tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    path = f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"
    act = [{"step": 5, "rank": 1, "signal": signal.SIGUSR1}]

    environment = {"PATH": path, "SLURM_JOB_ID": "4711"}

    stopped = drive(out, engine={"devices": 2, "requeue": True}, act=act, environment=environment)
    asked = (tmp_path / "asked").read_text()
    state = load_latest(out)
    pretrain(build("moco_v2.resnet18"), Pictures(), out, resume=True, quiet=True)

    assert stopped.returncode == 75, stopped.stderr
    assert stopped.stderr.count("SIGUSR1 after step 6") == 1
    assert asked == "requeue 4711\n"
    assert state.step == 6
    assert "engine.devices 2, now 1" in caplog.text
    assert losses(out) == pytest.approx(losses(both), rel=2e-3)
    before = [seen(out, rank)["steps"] for rank in (0, 1)]
    done = [[i for part in before for i in part[step][1]] for step in range(6)]
    assert done == [[i for _, i in batch] for batch in Order(18, 4, seed=0).batches(0, 6)]


def test_command_line_tells_an_error_of_two_processes_once(tmp_path):
    """A folder that holds other files: status 1, one message, nobody waits."""
    for number in range(8):
        (tmp_path / "data" / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number + 1, 0, 0)).save(tmp_path / "data" / "a" / f"{number}.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    engine = ["--engine.devices", "2", "--engine.accelerator", "cpu", "--engine.batch_size", "4"]
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--split", "none"]

    done = start(
        ["-m", "ssl4eo.cli", "pretrain", "--recipe", "moco_v2.resnet18.s2rgb.tiny", *options, *engine, "--quiet"]
    )

    assert done.returncode == 1, done.stderr
    assert done.stderr.count("holds other files") == 1


@pytest.mark.slow
def test_torchrun_on_two_machines_is_the_run_of_one_machine(both, tmp_path):
    """Two launchers, a process each, meet at an address: the same bits as two processes that the command started."""
    told = {"out": str(tmp_path / "run"), "name": "moco_v2.resnet18", "engine": {"num_nodes": 2}}
    address = [
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(free_port()),
    ]
    commands = [
        [sys.executable, "-m", "torch.distributed.run", *address, "--node-rank", str(n), str(DRIVER), json.dumps(told)]
        for n in range(2)
    ]

    environment = clean_environment(PYTHONPATH=PYTHONPATH)

    machines = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        for command in commands
    ]
    told = [machine.communicate(timeout=LONGEST_S)[0] for machine in machines]

    assert [machine.returncode for machine in machines] == [0, 0], told
    assert losses(tmp_path / "run") == losses(both)
    assert_equal(weights(tmp_path / "run"), weights(both))


def test_processes_need_a_command_to_run_again(monkeypatch):
    """An interactive session cannot be started a second time."""
    monkeypatch.setattr(sys, "argv", ["-c"])

    with pytest.raises(ConfigInvalid, match="torchrun"):
        make_fabric(build("moco_v2.resnet18", devices=2).engine)


def test_number_of_processes_must_be_that_of_torchrun(monkeypatch):
    """What the launcher started and what the options say are compared before anything waits."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigInvalid, match="as many processes"):
        make_fabric(build("moco_v2.resnet18", devices=4).engine)


def test_broken_connection_is_told_with_a_remedy():
    """What torch says of a lost process is turned into an error that names --resume; other errors pass."""

    class Two:
        global_rank, world_size = 0, 1

    together = Together(Two())
    together.num_processes = 2

    with pytest.raises(WorkerLost, match="--resume"), together:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), together:
        raise RuntimeError("shapes differ")
