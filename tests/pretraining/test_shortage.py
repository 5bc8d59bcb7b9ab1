# SPDX-License-Identifier: Apache-2.0
"""Memory that does not suffice: told in one line, with options that the run can be gone on with."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from test_loop import Noise, config

from ssl4eo.errors import ConfigInvalid, OutOfMemory
from ssl4eo.methods.moco_v2 import MoCoV2
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.pretraining.memory import less_memory
from ssl4eo.recipes.table import RECIPES, recipe


def without_room(forward, *, samples, refuse):
    """Make a forward pass that takes what `refuse` asks for where it gets this many samples."""

    def limited(self, views, masks, moment):
        if len(views[0]) >= samples and moment.step == 5:
            refuse()
        return forward(self, views, masks, moment)

    return limited


def refused_by_the_allocator():
    """Ask for a petabyte."""
    torch.empty(2**50, dtype=torch.uint8)


def refused_by_cuda():
    """Say what a GPU says."""
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 23.69 GiB of which 12.81 MiB "
        "is free. Process 4111 has 23.66 GiB memory in use."
    )


@pytest.mark.parametrize(
    ("refuse", "cause"),
    [
        (refused_by_the_allocator, "(DefaultCPUAllocator: can't allocate memory: you tried to allocate 11258999068426"),
        (refused_by_cuda, "(CUDA out of memory. Tried to allocate 20.00 MiB)"),
    ],
)
def test_step_without_room_is_told_and_the_remedy_helps(tmp_path, monkeypatch, refuse, cause):
    """The run goes on from its checkpoint with half as many samples at a time, as the message says."""
    monkeypatch.setattr(MoCoV2, "forward", without_room(MoCoV2.forward, samples=4, refuse=refuse))

    with pytest.raises(OutOfMemory) as told:
        pretrain(config(probe_every=0), Noise(), tmp_path / "run", quiet=True)

    assert "no memory for the network, its optimizer and a step of 4 samples at a time" in str(told.value)
    assert cause in str(told.value)
    assert "--resume and --engine.accumulate 2 (the same batch in 2 parts)" in str(told.value)
    result = pretrain(config(probe_every=0, accumulate=2), Noise(), tmp_path / "run", resume=True, quiet=True)
    assert result.steps == 12


@pytest.mark.parametrize("error", [RuntimeError("expected scalar type Float"), ConfigInvalid("out of memory")])
def test_other_errors_stay_what_they_are(tmp_path, monkeypatch, error):
    """Also one of ours that speaks of memory."""

    def broken(self, views, masks, moment):
        raise error

    monkeypatch.setattr(MoCoV2, "forward", broken)

    with pytest.raises(type(error)) as told:
        pretrain(config(probe_every=0), Noise(), tmp_path / "run", quiet=True)
    assert told.value is error


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_named_can_be_done(name):
    """Each option by itself, for every recipe; MoCo v3 takes no parts, residual networks compute nothing twice."""
    base = recipe(name).config()
    named = dict(re.findall(r"--engine\.(\w+) (\w+)", less_memory(base)))

    assert "batch_size" in named
    assert ("accumulate" in named) == (not name.startswith("moco_v3"))
    assert ("activation_checkpointing" in named) == base.backbone.startswith("vit")
    for option, value in named.items():
        engine = dataclasses.replace(base.engine, **{option: True if value == "true" else int(value)})
        assert dataclasses.replace(base, engine=engine).engine.batch_size <= base.engine.batch_size


def test_nothing_is_named_where_nothing_is_left():
    """A batch of two in two parts."""
    least = config(backbone="test_resnet", batch_size=2, accumulate=2)

    assert less_memory(least) == "a new run with a smaller --backbone or smaller views"
