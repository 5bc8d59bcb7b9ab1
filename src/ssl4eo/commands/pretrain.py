# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo pretrain`: a recipe, some data, a folder for the run; every option of the recipe by its dotted name."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from ssl4eo.commands.parsing import CommandParser, separated
from ssl4eo.errors import ConfigInvalid
from ssl4eo.memory import keep_freed_memory

if TYPE_CHECKING:
    from ssl4eo.pretraining.config import PretrainConfig

_EXAMPLE = "ssl4eo pretrain --recipe moco_v2.resnet18.s2l1c.tiny --data a.zarr --out runs/first"


def build_parser(arguments: Sequence[str]) -> CommandParser:
    """Make the parser; its options and defaults are those of the recipe that the arguments name."""
    parser = CommandParser(
        prog="ssl4eo pretrain",
        description=f"Pre-train a network by a recipe. Example: {_EXAMPLE}",
        epilog="Give --recipe NAME --help to see the options of that recipe with their values.",
    )
    parser.add_argument("--config", action="config", help="YAML file with values of these options")
    parser.add_argument(
        "--recipe", type=str, required=True, help="name from `ssl4eo recipes list`, or module:name of your own"
    )
    parser.add_argument("--backbone", type=str, help="another network for the recipe, if its method can take it")
    parser.add_argument("--data", type=Path, required=True, help="an archive, or a folder of class folders of pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out after its last checkpoint")
    parser.add_argument(
        "--split",
        default="reference",
        help="whose training part is used for data with labels (reference), or none for everything",
    )
    parser.add_argument(
        "--ids", type=Path, help="file with the ids of the locations to train on, one a line; all if left out"
    )
    parser.add_argument(
        "--bands", nargs="+", default=[], help="bands of the recipe's modality that the network is fed, in order"
    )
    parser.add_argument("--scaling", choices=["default", "zscore"], help="what the network is fed, see the recipe")
    parser.add_argument(
        "--init-from",
        "--init_from",
        default="",
        help="weights to begin with: a name from `ssl4eo checkpoints list`, a file, or a run's folder; a full "
        "checkpoint of the method gives heads, averages and queue too",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress; alarms are printed all the same")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    name, backbone = _named(arguments)
    if name is not None:
        parser.shown_by = f"ssl4eo pretrain --recipe {name}"
        for part in fields(base := _base(name, backbone)):
            value = getattr(base, part.name)
            if part.name in ("scaling", "bands", "init_from"):
                parser.set_defaults({part.name: list(value) if isinstance(value, tuple) else value})
            if _is_part(value):
                _add_options(parser, part.name, value)
    return parser


def _add_options(parser: ArgumentParser, name: str, part: Any) -> None:
    """Add the options of a part of the recipe by the class of its object: the declared one may have fewer fields.

    Args:
        parser: that gets them.
        name: of the part, with dots.
        part: a dataclass; its values are the defaults.
    """
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    inner = {key: value for key, value in values.items() if _is_part(value)}
    # Not instantiated: `_with_values` makes the object, out of the recipe's own.
    options = parser.add_class_arguments(type(part), name, skip=set(inner), instantiate=False)
    plain = {f"{name}.{key}": value for key, value in values.items()}
    parser.set_defaults({option: plain[option] for option in options if option in plain})
    for key, value in inner.items():
        _add_options(parser, f"{name}.{key}", value)


def _is_part(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _named(arguments: Sequence[str]) -> tuple[str | None, str | None]:
    """Find recipe and backbone before there is a parser: on the command line, else in the file of `--config`."""
    early = argparse.ArgumentParser(add_help=False, exit_on_error=False)  # abbreviates as the whole parser does
    for option in ("--recipe", "--backbone", "--config"):
        early.add_argument(option)
    try:
        known, _ = early.parse_known_args(list(arguments))
    except argparse.ArgumentError:  # an option without its value: the whole parser tells it
        return None, None
    wanted = known.recipe is None or known.backbone is None
    stored = _named_in(Path(known.config)) if wanted and known.config and Path(known.config).is_file() else {}
    name = stored.get("recipe") if known.recipe is None else known.recipe
    return name, stored.get("backbone") if known.backbone is None else known.backbone


def _named_in(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigInvalid(
            f"{path} is no YAML ({' '.join(str(error).split())})",
            expected="options as `ssl4eo pretrain ... --print_config` writes them",
        ) from error
    return values if isinstance(values, dict) else {}


def run_parsed(parser: ArgumentParser, values: Namespace) -> int:
    """Start or continue the run that the parsed arguments describe."""
    from ssl4eo.pretraining.data import open_training_data
    from ssl4eo.pretraining.launch import reading_precision, speak_once
    from ssl4eo.pretraining.loop import pretrain

    keep_freed_memory()
    speak_once()  # of the data, too, which every process opens
    config = resolve(parser, values)
    _require_readable_again(values.ids, config.engine.num_processes)
    data = open_training_data(
        values.data,
        contract=config.contract,
        split=values.split,
        ids=values.ids,
        precision=reading_precision(config),
        linear=config.engine.probe == "knn+linear",
        skip_damaged=config.engine.damaged == "replace",
    )
    result = pretrain(config, data.source, values.out, probe=data.probe, resume=values.resume, quiet=values.quiet)
    if not result.is_first:
        return 0
    if values.json:
        row = {"backbone": str(result.backbone), "steps": result.steps, "loss": result.last_loss}
        print(json.dumps(row | {"alarms": result.alarms}))  # noqa: T201 - the result
    else:
        print(f"{result.backbone}: {result.steps} steps, last loss {result.last_loss:.3f}")  # noqa: T201 - the result
        for alarm in result.alarms:
            print(f"ALARM: {alarm}", file=sys.stderr)  # noqa: T201 - the command line
    return 0


def _require_readable_again(ids: Path | None, num_processes: int) -> None:
    """Refuse a pipe, as `--ids <(command)` is one, for several processes: only the first could read it."""
    if ids is not None and num_processes > 1 and ids.exists() and not (ids.is_file() or ids.is_dir()):
        raise ConfigInvalid(
            f"--ids {ids}, a pipe, for {num_processes} processes",
            expected="a file that every process can read",
            remedy="write the list into a file first",
        )


def resolve(parser: ArgumentParser, values: Namespace) -> PretrainConfig:
    """Put overrides into the recipe's config.

    Raises:
        ConfigInvalid: a value or a combination that cannot work.
    """
    from ssl4eo.recipes.table import recipe

    base = _base(values.recipe, values.backbone)
    built = parser.instantiate(values)
    parts = {f.name: getattr(base, f.name) for f in fields(base)}
    changed = {name: _with_values(part, built[name], name) for name, part in parts.items() if _is_part(part)}
    if all(changed[name] == parts[name] for name in changed):
        recipe(values.recipe).with_backbone(values.backbone)  # its error names the networks that fit as it is
    given = [values.bands] if isinstance(values.bands, str) else values.bands  # of a file
    bands = tuple(separated(given) or ())
    if given and not bands:
        raise ConfigInvalid("--bands without a band", expected="names of bands, or the option left out for all")
    return replace(base, scaling=values.scaling, bands=bands, init_from=values.init_from, **changed)


def _base(name: str, backbone: str | None) -> PretrainConfig:
    """Build the recipe's config around a network, which options of the command may be needed to make fit."""
    from ssl4eo.pretraining.config import fitting
    from ssl4eo.recipes.table import recipe

    with fitting(required=False):
        return recipe(name).with_backbone(backbone).config()


def _with_values(part: Any, values: Namespace, name: str) -> Any:
    """Put parsed values into an object of the recipe, inner ones first, so that every class stays the recipe's.

    Args:
        part: the object.
        values: of its options.
        name: of the part, with dots.
    """
    from ssl4eo.views.config import named_option

    given = {f.name: getattr(part, f.name) for f in fields(part) if f.init and f.name in values}
    changed = {
        key: _with_values(old, values[key], f"{name}.{key}") if _is_part(old) else values[key]
        for key, old in given.items()
    }
    try:
        return replace(part, **changed)
    except ConfigInvalid as error:
        view = re.match(r"views\.\w+", name)
        raise (named_option(view[0], error) if view else error) from None
