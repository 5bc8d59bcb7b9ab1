# SPDX-License-Identifier: Apache-2.0
"""A method of one's own that lacks something: one line says what, where it is made."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.cli import main
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import Method, MethodConfig, Setting, StepOutput

OWN = """
import dataclasses
from ssl4eo.methods.method import MethodConfig
from ssl4eo.recipes.recipe import Recipe
from ssl4eo.recipes.table import recipe

@dataclasses.dataclass(frozen=True)
class Bare(MethodConfig):
    def build(self, backbone, *, seed):
        raise NotImplementedError

def bare(backbone, modality, name):
    base = recipe("moco_v2.resnet18.s2l1c.tiny").build(backbone, modality, name)
    return dataclasses.replace(base, method=Bare())

BARE = Recipe("own.bare", "resnet18", "S2L1C", bare, promise="none")
"""


class Blind(Method):
    """A method without a forward pass."""


class Whole(Method):
    """A method that has all."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, views, masks, moment):
        """Give what means nothing."""
        return StepOutput(views[0].mean(), views[0].flatten(1), {})


@dataclass(frozen=True)
class WholeConfig(MethodConfig):
    """Options of it."""

    dim: int = 3

    def build(self, backbone: Backbone, *, seed: int) -> Method:
        """Build it."""
        return Whole(backbone)

    def check(self, setting: Setting) -> None:
        """Take everything."""
        del setting

    def initial_loss(self, batch_size: int | None = None) -> None:
        """Tell nothing."""


def test_what_options_lack_is_one_line_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2, and with what to write."""
    (tmp_path / "own_bare.py").write_text(OWN)

    assert main(["recipes", "show", f"{tmp_path}/own_bare.py:BARE"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "ssl4eo: Bare has no check and no initial_loss; expected all that a MethodConfig must have: "
    )
    assert "write check(self, setting: Setting) -> None, initial_loss(self, batch_size: int | None = None)" in line


def test_what_a_method_lacks_is_told() -> None:
    """The forward of torch, which raises, is none."""
    with pytest.raises(ConfigInvalid, match="Blind has no forward; expected all that a Method must have"):
        Blind()


def test_whole_ones_are_made_copied_and_pickled() -> None:
    """As they were before."""
    config = WholeConfig(dim=4)
    method = config.build(Backbone("resnet18", network_input("S2RGB"), image_size=32, seed=0), seed=0)

    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert torch.equal(*(m.backbone.net.conv1.weight for m in (method, copy.deepcopy(method))))
