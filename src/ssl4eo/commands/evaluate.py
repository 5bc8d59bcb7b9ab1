# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo evaluate`: judge a network on a task by one or more protocols."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssl4eo.archive.journal import require_outside
from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.names import ProtocolName
from ssl4eo.progress import progress_bar

if TYPE_CHECKING:
    from ssl4eo.evaluation.score import Score


def run(  # noqa: PLR0913 - the options of the command line
    *,
    out: Path,
    root: Path,
    checkpoint: str | None = None,
    task: str | None = None,
    protocol: list[ProtocolName] | None = None,
    split: str = "reference",
    seeds: list[int] | None = None,
    image_size: int | None = None,
    untrained: bool = False,
    fraction: float = 1.0,
    fraction_form: Literal["corrected", "as_published"] = "corrected",
    epochs: int | None = None,
    save_features: bool = False,
    skip_missing: bool = False,
    suite: str | None = None,
    json: bool = False,
) -> int:
    """Judge a network on the test part of a task; scores are appended to OUT/scores.jsonl.

    With --suite published: every published network on every task of the published table for which there are data, going
    on where an earlier call stopped; OUT/skipped.jsonl says what is missing and how to get it.

    Args:
        out: folder for the records
        root: data of the task (for synthetic tasks the archive); of a suite the folder that has a folder for each task
        checkpoint: name of the catalog, backbone file, folder of a run, or random.<backbone>.<input> for an untrained
            network; module:name or file.py:name for one of your own
        task: such as eurosat, eurosat_13, bigearthnet_v1_s2, so2sat_s2, oscd, dfc2020, folder, synthetic; a wrong name
            lists all; module:name or file.py:name for one of your own
        protocol: list of knn, linear, finetune, linear_as_published, finetune_as_published, segmentation_linear,
            segmentation, change, change_as_published; without it those that leave the network as it is
        split: named split of the task
        seeds: list of seeds; of an untrained network each draws its weights, else each draws heads, order and crops of
            protocols that train; without it [0]
        image_size: height and width that the network is fed [px]; without it what it was trained with, 224 if
            untrained, and by protocols of maps the side of the maps if it takes any size
        untrained: judge the network of a file or run as it was before its first step
        fraction: share of the training part that is learned from
        fraction_form: how that share is drawn; as_published is with replacement for some tasks
        epochs: of protocols that train, in place of their own: for a quick look
        save_features: keep the features of the test part beside the scores
        skip_missing: judge on what there is where items that a split names are absent; OUT/skipped.jsonl lists them
        suite: published; checkpoint, task and protocol are the suite's own then
        json: print the scores as JSON

    Returns:
        Exit status 0; 1 where nothing of a suite could be judged.
    """
    require_outside(out, is_folder=True)
    if suite is not None:
        given = {"checkpoint": checkpoint, "task": task, "protocol": protocol, "seeds": seeds}
        given |= {"split": split != "reference", "fraction": fraction != 1, "image_size": image_size}
        given |= {"untrained": untrained, "save_features": save_features}
        if any(given.values()):
            names = ", ".join(f"--{name}" for name, value in given.items() if value)
            raise ConfigInvalid(f"{names} with --suite", expected="neither: a suite has its own")
        return _suite(suite, root, out, epochs=epochs, skip_missing=skip_missing, json=json)
    if checkpoint is None or task is None:
        raise ConfigInvalid("no checkpoint or no task", expected="--checkpoint and --task, or --suite")
    from ssl4eo.evaluation.ledger import LEDGER, gaps_of, update_ledger, whole_of
    from ssl4eo.evaluation.network import load_network
    from ssl4eo.evaluation.protocols.table import DEFAULTS
    from ssl4eo.evaluation.run import evaluate
    from ssl4eo.evaluation.tasks.fractions import take_fraction
    from ssl4eo.evaluation.tasks.table import open_task

    wanted = [0] if seeds is None else seeds
    if not wanted or len(set(wanted)) != len(wanted) or min(wanted) < 0:
        raise ConfigInvalid(f"seeds {seeds}", expected="one or more numbers from 0, each once")
    if seeds is not None and not checkpoint.startswith("random."):
        _require_training(protocol, seeds, checkpoint)
    scores: list[Score] = []
    opened = None
    for seed in wanted:
        network = load_network(checkpoint, seed=seed, image_size=image_size, untrained=untrained)
        if seeds is not None:
            network = replace(network, seed=seed)
        if opened is None:
            opened = open_task(task, root, split=split, contract=network.backbone.contract, skip_missing=skip_missing)
            opened = take_fraction(opened, fraction, form=fraction_form)
        with progress_bar(f"{checkpoint}, seed {network.seed}: {task}") as progress:
            scores += evaluate(
                network,
                opened,
                protocol or DEFAULTS[opened.kind],
                out=out,
                save_features=save_features,
                epochs=epochs,
                progress=progress,
            )
    assert opened is not None, "there is a seed"
    update_ledger(out, gaps_of(opened), settled=[whole_of(opened)])
    _tell(scores, json=json)
    for gap in opened.gaps:
        Console(stderr=True, soft_wrap=True).print(f"left out, see {out / LEDGER}: {gap.found}", markup=False)
    return 0


def _require_training(protocol: list[ProtocolName] | None, seeds: list[int], checkpoint: str) -> None:
    """Refuse seeds that nothing would be drawn from: a file has its own weights."""
    from ssl4eo.evaluation.protocols.table import PROTOCOLS

    if not protocol or not all(name in PROTOCOLS and PROTOCOLS[name].on_pixels for name in protocol):
        raise ConfigInvalid(
            f"seeds {seeds} for {checkpoint}",
            expected="none: a file has its own weights, and only protocols that train draw any",
            remedy="leave seeds out, or name an untrained network such as random.resnet18.s2l1c",
        )


def _suite(name: str, roots: Path, out: Path, *, epochs: int | None, skip_missing: bool, json: bool) -> int:
    from ssl4eo.evaluation.ledger import LEDGER
    from ssl4eo.evaluation.run import SCORES
    from ssl4eo.evaluation.suite import run_suite

    console = Console(stderr=True, soft_wrap=True, markup=False)
    scores, skipped = run_suite(name, roots, out, epochs=epochs, skip_missing=skip_missing, show=console.print)
    if json:
        rows = {"scores": [s.to_json() for s in scores], "skipped": [row.to_json() for row in skipped]}
        sys.stdout.write(dumps(rows, indent=2) + "\n")
    elif scores:
        _tell(scores, json=False)
    if skipped:
        console.print(f"{len(skipped)} left out, see {out / LEDGER}:")
        for reason in dict.fromkeys(f"{row.found}{f': {row.remedy}' if row.remedy else ''}" for row in skipped):
            console.print(f"  {reason}")
    return 0 if (out / SCORES).is_file() or not skipped else 1


def _tell(scores: Sequence[Score], *, json: bool) -> None:
    if json:
        sys.stdout.write(dumps([score.to_json() for score in scores], indent=2) + "\n")
        return
    for key in dict.fromkeys((s.checkpoint, s.task, s.metric) for s in scores):
        _show([s for s in scores if (s.checkpoint, s.task, s.metric) == key])


def _show(scores: Sequence[Score]) -> None:
    """Print a table of the scores on stdout."""
    first = scores[0]
    table = Table(
        title=f"{escape(first.checkpoint)}{'' if first.pretrained else ' (untrained)'} on {escape(first.task)}"
        f"{' (synthetic data)' if first.synthetic else ''}, split {escape(first.split)}",
        caption=f"{first.num_train} training and {first.num_test} test items of {first.num_classes} classes",
    )
    second = next(name for name in first.measures if name != first.metric)
    for name in ("protocol", "seed", f"{_words(first.metric)} [%]", "95 % interval", f"{_words(second)} [%]"):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    for s in scores:
        interval = "" if s.interval is None else "{:.1f} to {:.1f}".format(*(100 * v for v in s.interval))
        table.add_row(
            s.protocol,
            str(s.seed),
            f"{100 * s.value:.1f}",
            interval,
            f"{100 * s.measures[second]['value']:.1f}",
        )
    Console(soft_wrap=True).print(table)


def _words(metric: str) -> str:
    """Spell the name of a measure.

    >>> _words("micro_map")
    'micro map'
    """
    return metric.replace("_", " ")
