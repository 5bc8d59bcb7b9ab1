# SPDX-License-Identifier: Apache-2.0
"""Masked methods in the loop: a teacher that survives an interruption, a batch in parts that equals the whole."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.training_state import load_latest
from ssl4eo.contract import stored
from ssl4eo.evaluation.online import NO_READING
from ssl4eo.form import Form
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.recipes.table import recipe


class Noise:
    """Eight random pictures."""

    title, synthetic, num_seasons, identity = "noise", True, 1, "a"
    contract = stored("S2RGB")
    form = Form.native("S2RGB")

    def __init__(self):
        """Draw the pictures."""
        self.images = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32)).astype(np.uint8)

    def __len__(self):
        """Count them."""
        return len(self.images)

    def pixels(self, index, season, *, resolutions=None):
        """Give one."""
        return {10: self.images[index]}


class Interrupted(Exception):
    """Raised on purpose."""


def config(method, **engine):
    """Make a run of 3 epochs of 2 steps on 32 px views."""
    base = recipe(f"{method}.vit_small_16.s2rgb.tiny").config()
    changes = {"data2vec": {"num_masked": 9, "top_blocks": 2, "drop_path": 0.3, "attention_drop": 0.1}, "mae": {}}[
        method
    ]
    options = {"epochs": 3, "batch_size": 4, "precision": "32-true", "save_every": 1, "log_every": 1} | engine
    return dataclasses.replace(
        base,
        backbone="vit_w48d2h3_8",
        method=dataclasses.replace(base.method, **changes),
        views=dataclasses.replace(base.views, view=dataclasses.replace(base.views.view, size=32)),
        engine=dataclasses.replace(base.engine, **(options | {"probe_every": 1})),
    )


def interrupt_at(reading):
    """Make a probe that raises at its n-th reading."""
    count = iter(range(100))

    def probe(_backbone):
        if next(count) == reading:
            raise Interrupted
        return NO_READING

    return probe


@pytest.mark.parametrize("method", ["data2vec", "mae"])
def test_interrupted_run_resumes_to_bit_identical_weights(tmp_path, method):
    """Stopped in its second epoch: student, teacher and decoder end as in the run that was left alone."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pretrain(config(method), Noise(), whole, quiet=True)
    with pytest.raises(Interrupted):
        pretrain(config(method), Noise(), broken, probe=interrupt_at(2), quiet=True)
    assert load_latest(broken).step == 2

    pretrain(config(method), Noise(), broken, resume=True, quiet=True)

    first, second = (load_latest(run).method for run in (whole, broken))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    if method == "data2vec":
        name = "net.patch_embed.proj.weight"
        assert not torch.equal(second[f"teacher.{name}"], second[f"backbone.{name}"])


def test_a_batch_in_parts_is_the_whole_batch(tmp_path):
    """Every image hides as many patches, so the mean of the parts' losses is the loss of the batch."""
    runs = {parts: tmp_path / str(parts) for parts in (1, 2)}
    for parts, out in runs.items():
        pretrain(config("mae", accumulate=parts, epochs=1), Noise(), out, quiet=True)

    whole, parts = (load_backbone(out).state_dict() for out in runs.values())
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=1e-3, atol=2e-5)  # AdamW divides small sums by their size


def test_kept_backbone_is_rebuilt_as_it_was_trained(tmp_path):
    """Options travel with the file: relative positions, mean of the patches."""
    pretrain(config("data2vec", epochs=1), Noise(), tmp_path / "run", quiet=True)

    backbone = load_backbone(tmp_path / "run")

    assert backbone.options.position == "relative"
    assert backbone.options.pooling == "mean"
    assert torch.isfinite(backbone.embed(Noise().images, stored("S2RGB"))).all()
