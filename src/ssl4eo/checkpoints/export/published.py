# SPDX-License-Identifier: Apache-2.0
"""The published form: a run's training state as the full checkpoint that the reference's scripts read.

Key names are those of published_keys.py. What has no counterpart, the optimizer above all, is left out and told:
the reference's evaluation reads such a file, its pre-training cannot be continued from one that lacks its optimizer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ssl4eo.backbones.architectures import ARCHITECTURES
from ssl4eo.checkpoints.export.flat import write_torch
from ssl4eo.checkpoints.export.source import Source, Written
from ssl4eo.checkpoints.export.torchvision import CONSTRUCTORS
from ssl4eo.checkpoints.published_keys import method_of, to_published
from ssl4eo.checkpoints.training_state import FOLDER, TrainingState, load_latest
from ssl4eo.contract import InputContract, network_input
from ssl4eo.errors import CheckpointInvalid, DataMissing

_MOCO_V3: Mapping[str, str] = MappingProxyType({"vit_small_16": "vit_small", "vit_base_16": "vit_base"})
_DINO = frozenset({"vit_tiny", "vit_small", "vit_base"})
"""Of any patch: its script has that as an option."""
_MAE: Mapping[str, str] = MappingProxyType(
    {
        "vit_small_16": "mae_vit_small_patch16",
        "vit_base_16": "mae_vit_base_patch16",
        "vit_large_16": "mae_vit_large_patch16",
        "vit_huge_14": "mae_vit_huge_patch14",
    }
)
_DATA2VEC: Mapping[str, str] = MappingProxyType(
    {f"vit_{size}_16": f"beit_{size}_patch16_224" for size in ("small", "base", "large")}
)


def name_there(method: str, arch: str) -> str | None:
    """Give the reference's name of a network, None where its script for the method cannot build it.

    >>> name_there("dino", "vit_small_8"), name_there("moco_v3", "vit_small_8")
    ('vit_small', None)
    """
    if method == "dino":
        theirs = arch.rpartition("_")[0]
        names = {arch: theirs} if theirs in _DINO else {}
    else:
        names = {"moco_v3": _MOCO_V3, "mae": _MAE, "data2vec": _DATA2VEC}.get(method, {})
    return names.get(arch, arch if arch in CONSTRUCTORS else None)


@dataclass(frozen=True)
class Run:
    """What a training state tells of its run."""

    name: str
    """Of the method."""
    config: Mapping[str, Any]
    epochs_done: int

    @property
    def arch(self) -> str:
        """Our name of the network."""
        return str(self.config["backbone"])

    @property
    def arch_there(self) -> str | None:
        """The reference's name of it, if its script for the method can build it."""
        return name_there(self.name, self.arch)

    @property
    def method(self) -> Mapping[str, Any]:
        """Options of the method."""
        return self.config["method"]

    @property
    def contract(self) -> InputContract:
        """What entered the network."""
        modality, bands = str(self.config["modality"]), self.config.get("bands") or None
        return network_input(modality, bands, standardized=self.config.get("scaling") == "zscore")


def _dino_args(run: Run) -> argparse.Namespace:
    return argparse.Namespace(
        arch=run.arch_there or run.arch,
        patch_size=ARCHITECTURES[run.arch].patch,
        out_dim=run.method["out_dim"],
        momentum_teacher=run.method["momentum"],
        warmup_teacher_temp=run.method["warmup_temperature"],
        teacher_temp=run.method["teacher_temperature"],
        warmup_teacher_temp_epochs=run.method["warmup_temperature_epochs"],
        freeze_last_layer=run.method["freeze_last_layer"],
        drop_path_rate=run.method["drop_path"],
        epochs=run.config["engine"]["epochs"],
        seed=run.config["engine"]["seed"],
    )


def _mae_args(run: Run) -> argparse.Namespace:
    return argparse.Namespace(
        model=run.arch_there or run.arch,
        mask_ratio=run.method["mask_ratio"],
        norm_pix_loss=run.method["norm_pixels"] == "patch",
        epochs=run.config["engine"]["epochs"],
        seed=run.config["engine"]["seed"],
    )


def _data2vec_args(run: Run) -> argparse.Namespace:
    return argparse.Namespace(
        num_mask_patches=run.method["num_masked"],
        drop_path=run.method["drop_path"],
        epochs=run.config["engine"]["epochs"],
        seed=run.config["engine"]["seed"],
    )


def _counted(run: Run) -> dict[str, Any]:
    """Number the epoch as MoCo does: how many are done."""
    return {"epoch": run.epochs_done, "arch": run.arch_there or run.arch}


BESIDE: Mapping[str, Callable[[Run], dict[str, Any]]] = MappingProxyType(
    {
        "moco_v2": _counted,
        "moco_v3": _counted,
        "dino": lambda run: {"epoch": run.epochs_done, "args": _dino_args(run)},
        # These two number the epoch that was done last, from 0.
        "mae": lambda run: {"epoch": run.epochs_done - 1, "args": _mae_args(run)},
        "data2vec": lambda run: {"epoch": run.epochs_done - 1, "args": _data2vec_args(run)},
    }
)
"""Method -> what a published file holds beside its weights. Options of theirs that ours lacks are not in `args`."""


def write(source: Source, out: Path) -> Written:
    """Write the file and its record.

    Raises:
        DataMissing: no run folder, or a run without a checkpoint.
        ConfigInvalid: nobody has published this method around such a network.
        CheckpointInvalid: a state that no published form is known of.
    """
    state = _state(source)
    method = method_of(state.method)
    mapped = to_published(method, state.method)
    run = Run(method, state.config, _epochs_done(state))
    content = mapped.values | BESIDE[method](run)
    notes = _notes(run)
    record = {
        "form": "published",
        "method": method,
        "arch": run.arch,
        "image_size": _first_size(state.config["views"]),
        "contract": run.contract.to_json(),
        "step": state.step,
        "epochs_done": run.epochs_done,
        "dropped": list(mapped.dropped),
        "made": list(mapped.made),
        "absent": list(mapped.absent),
        "notes": list(notes),
        "config": state.config,
        "data": state.data,
    }
    files = write_torch(content, out, record)
    return Written(files, _load(out, content), notes, mapped.dropped, mapped.made, mapped.absent)


def _load(out: Path, content: Mapping[str, Any]) -> str:
    allowed = "torch.serialization.add_safe_globals([argparse.Namespace]); " if "args" in content else ""
    return f"{allowed}torch.load({str(out)!r}, weights_only=True)  # {', '.join(content)}"


def _state(source: Source) -> TrainingState:
    folder = Path(source.name)
    state = load_latest(folder) if (folder / FOLDER).is_dir() else None
    if state is None:
        raise DataMissing(
            f"{source.name} has no checkpoint of a run",
            expected=f"the folder of a run with {FOLDER}/step-*.pt: the published form holds both networks and heads",
            remedy="name a run's folder, or export the backbone alone with --form timm",
            path=str(folder),
        )
    return state


def _epochs_done(state: TrainingState) -> int:
    """Count whole epochs; a last batch that would not be full is left out of each."""
    try:
        return state.step // (int(state.data["num_items"]) // int(state.config["engine"]["batch_size"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointInvalid(
            f"the state after {state.step} steps does not tell its epochs ({error!r})",
            expected="data.num_items and engine.batch_size",
        ) from error


def _first_size(views: Mapping[str, Any]) -> int | None:
    """Find the size of the first view [px], which the network is trained for, whatever the views are."""
    if "size" in views:
        return int(views["size"])
    parts = (part for part in views.values() if isinstance(part, Mapping))
    return next((size for part in parts if (size := _first_size(part)) is not None), None)


def _notes(run: Run) -> tuple[str, ...]:
    notes = [
        "the reference's scripts read the weights; they cannot continue its training, which takes their optimizer",
        "they feed a network 8-bit values divided by 255: what this run was fed is in config and data of the record",
    ]
    if run.name == "mae" and run.method["pooling"] == "mean":
        notes.append("they read the class token; this run's features are the mean of its patch tokens")
    if run.name == "mae" and run.method["norm_pixels"] == "band":
        notes.append("the decoder predicts pixels normalized band by band, theirs of all bands of a patch together")
    if run.name == "data2vec":
        notes.append("they leave out the last norm, this run's features have it")
    if run.config.get("scaling", "default") != "default":
        notes.append(f"this run was fed values scaled by {run.config['scaling']}, theirs are from 0 to 1")
    if run.arch_there is None:
        notes.append(f"the reference's {run.name} has no {run.arch}")
    return tuple(notes)
