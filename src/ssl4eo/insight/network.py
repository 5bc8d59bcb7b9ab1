# SPDX-License-Identifier: Apache-2.0
"""The network that a run has left so far: all of its method from the last whole checkpoint, else its backbone alone.

Whatever cannot be had is a sentence, not an error: a page is made of what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE, load_own, read_header
from ssl4eo.checkpoints.training_state import TrainingState, last_listed, load_latest
from ssl4eo.errors import Ssl4eoError
from ssl4eo.files import file_sha256
from ssl4eo.methods.method import Method
from ssl4eo.pretraining.config import PretrainConfig, flatten
from ssl4eo.pretraining.step import build_method


@dataclass(frozen=True)
class Left:
    """What a run left."""

    backbone: Backbone | None
    """The network that is kept."""
    method: Method | None
    """All of it, with decoder and heads; None where only the backbone is there."""
    step: int | None
    """Steps it was trained for, None if nobody says."""
    notes: tuple[str, ...] = ()
    """What could not be had and why."""


def weights_key(run: Path) -> str:
    """Tell the weights of a run from others without loading them; empty where there are none."""
    listed = last_listed(run)
    if listed is not None:
        return listed[1]
    path = run / BACKBONE_FILE
    return f"{BACKBONE_FILE} {file_sha256(path)}" if path.is_file() else ""


def steps_done(run: Path) -> int:
    """Say how many steps the newest weights of a run were trained for; 0 where there are none or nobody says."""
    listed = last_listed(run)
    return listed[0] if listed is not None else 0


def load_left(run: Path, config: PretrainConfig) -> Left:
    """Load what there is."""
    notes: list[str] = []
    method, step = _method(run, config, notes)
    if method is not None:
        return Left(method.backbone, method, step, tuple(notes))
    backbone, step = _backbone(run, config, notes)
    if backbone is None and not notes:
        notes.append("the run has written no checkpoint yet")
    return Left(backbone, None, step, tuple(notes))


def _method(run: Path, config: PretrainConfig, notes: list[str]) -> tuple[Method | None, int | None]:
    try:
        state = load_latest(run)
    except Ssl4eoError as error:
        notes.append(str(error))
        return None, None
    if state is None:
        return None, None
    if trouble := _fits(state, config):
        notes.append(f"the checkpoint of step {state.step} is of another run than config.json: {trouble}")
        return None, None
    try:
        method = build_method(config)
        method.load_state_dict(state.method, strict=True)
    except (RuntimeError, Ssl4eoError) as error:
        first = next(iter(str(error).strip().splitlines()[1:2]), str(error)).strip()
        notes.append(f"the checkpoint of step {state.step} does not fit the network of config.json ({first})")
        return None, None
    return method.eval(), state.step


def _fits(state: TrainingState, config: PretrainConfig) -> str:
    """Say what differs between the network of a checkpoint and that of the config; empty if nothing does."""
    old, new = flatten(state.config), flatten(config.to_json())
    names = [name for name in new if name.startswith(("backbone", "modality", "method.", "views.")) and name in old]
    differing = [f"{name} {old[name]!r}, not {new[name]!r}" for name in names if old[name] != new[name]]
    return "; ".join(differing[:3])


def _backbone(run: Path, config: PretrainConfig, notes: list[str]) -> tuple[Backbone | None, int | None]:
    path = run / BACKBONE_FILE
    if not path.is_file():
        return None, None
    try:
        backbone = load_own(path)
        backbone.contract.require(config.contract)
        training = read_header(path).get("training", {})
    except Ssl4eoError as error:
        notes.append(str(error))
        return None, None
    found = (backbone.arch, backbone.image_size)
    if found != (config.backbone, config.image_size):
        notes.append(
            f"{BACKBONE_FILE} is a {found[0]} for {found[1]} px; config.json says {config.backbone}, "
            f"{config.image_size} px"
        )
        return None, None
    notes.append(f"there is no whole checkpoint of the method: {BACKBONE_FILE} has the backbone alone")
    step = training.get("steps")
    return backbone.eval(), step if isinstance(step, int) else None
