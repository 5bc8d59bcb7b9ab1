# SPDX-License-Identifier: Apache-2.0
"""What a machine decides about a run."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from ssl4eo.errors import ConfigInvalid
from ssl4eo.pretraining import launch
from ssl4eo.recipes.table import recipe


@pytest.mark.parametrize(
    ("in_hardware", "precision", "reading"), [(True, "bf16-mixed", "bf16"), (False, "32-true", "32")]
)
def test_auto_takes_bf16_only_where_it_is_computed(monkeypatch, in_hardware, precision, reading):
    """For training and for the reading in passing alike: emulated bf16 is many times slower than float32."""
    monkeypatch.setattr(launch, "computes_in_bf16", lambda accelerator: in_hardware)
    config = recipe("moco_v2.resnet18.s2rgb.tiny").config()

    assert config.engine.precision == "auto"
    assert launch.settle(config).engine.precision == precision
    assert launch.reading_precision(config) == reading


def test_a_precision_that_is_named_stays(monkeypatch):
    """Auto decides, nothing else does."""
    monkeypatch.setattr(launch, "computes_in_bf16", lambda accelerator: True)
    config = recipe("moco_v2.resnet18.s2rgb.tiny").config()
    plain = dataclasses.replace(config, engine=dataclasses.replace(config.engine, precision="32-true"))

    assert launch.settle(plain).engine.precision == "32-true"
    assert launch.reading_precision(plain) == "32"


@pytest.mark.parametrize(
    ("has_gpu", "asked", "settled"),
    [
        (False, "auto", "cpu"),
        (True, "auto", "cuda"),
        (True, "gpu", "cuda"),
        (True, "cpu", "cpu"),
        (False, "gpu", "gpu"),
    ],
)
def test_record_names_the_device_that_was_used(monkeypatch, has_gpu, asked, settled):
    """So that a run started with auto goes on with the device that it stood for; what is not there is refused later."""
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(launch.torch.cuda, "is_bf16_supported", lambda **kwargs: True)
    monkeypatch.setattr(launch.torch.backends.mps, "is_available", lambda: False)
    config = recipe("moco_v2.resnet18.s2rgb.tiny").config()
    config = dataclasses.replace(config, engine=dataclasses.replace(config.engine, accelerator=asked))

    assert launch.settle(config).engine.accelerator == settled


@pytest.mark.parametrize(
    "started",
    [
        {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_NAME": "train"},
    ],
)
def test_a_launcher_of_more_processes_is_not_ignored(monkeypatch, started):
    """With one device Fabric would let each process train a run of its own."""
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    engine = recipe("moco_v2.resnet18.s2rgb.tiny").config().engine

    with pytest.raises(ConfigInvalid, match="started 2 processes"):
        launch.make_fabric(engine)


LAUNCHERS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK", "WORLD_SIZE")


def several_machines(monkeypatch, **given):
    """Ask for two machines where a launcher's variables are as given; nobody is waited for."""
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch.Fabric, "launch", lambda self: None)
    monkeypatch.setattr("sys.argv", [__file__])  # a worker of the test runner has '-c', which nobody could start again
    engine = recipe("moco_v2.resnet18.s2rgb.tiny").config().engine
    return launch.make_fabric(dataclasses.replace(engine, num_nodes=2, precision="32-true", accelerator="cpu"))


@pytest.mark.parametrize("given", [{}, {"NODE_RANK": "0"}, {"MASTER_ADDR": "first", "NODE_RANK": "0"}])
def test_several_machines_without_a_launcher_are_refused(monkeypatch, given):
    """Each would wait for half an hour for others that cannot find it; the command that starts them is given."""
    with pytest.raises(ConfigInvalid, match=r"num_nodes 2.*torchrun --nnodes 2 --nproc-per-node 1 .*srun"):
        several_machines(monkeypatch, **given)


def test_machines_that_are_told_of_each_other_are_waited_for(monkeypatch, caplog):
    """By Lightning's own variables, with one command on each; who is waited for is said."""
    several_machines(monkeypatch, MASTER_ADDR="first", MASTER_PORT="29500", NODE_RANK="0")

    assert "waits for 1 more at first:29500" in caplog.text


def test_a_process_has_time_to_tell_that_another_is_gone(monkeypatch):
    """Lightning's observer sees a dead child: it waits, then kills as it always did; without ours it kills at once."""
    told = []

    class Killed:
        """The process of rank 1."""

        pid, returncode = 4711, -9

        def poll(self):
            """It has ended."""

        def send_signal(self, number):
            """To rank 1."""
            told.append(("child", number))

    observer = _ChildProcessObserver(main_pid=42, child_processes=[Killed()])
    monkeypatch.setattr(launch.threading, "enumerate", lambda: [observer])
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: told.append(("wait", seconds)))
    monkeypatch.setattr(launch.os, "kill", lambda pid, number: told.append((pid, number)))

    launch._let_errors_be_told()

    assert observer._run()
    assert told == [("wait", launch.LONGEST_FAREWELL_S), ("child", signal.SIGKILL), (42, signal.SIGKILL)]
