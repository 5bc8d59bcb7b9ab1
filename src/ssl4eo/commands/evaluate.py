# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo evaluate`: judge a network on a task by one or more protocols."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ssl4eo.errors import ConfigInvalid
from ssl4eo.progress import progress_bar

if TYPE_CHECKING:
    from ssl4eo.evaluation.run import Score


def run(  # noqa: PLR0913 - the options of the command line
    *,
    checkpoint: str,
    task: str,
    root: Path,
    out: Path,
    protocol: list[str] | None = None,
    split: str = "reference",
    seeds: list[int] | None = None,
    image_size: int | None = None,
    untrained: bool = False,
    save_features: bool = False,
    epochs: int | None = None,
    json: bool = False,
) -> int:
    """Judge a network on the test part of a task; scores are appended to OUT/scores.jsonl.

    Args:
        checkpoint: backbone file, folder of a run, or random.<backbone>.<input> for an untrained network
        task: eurosat, or synthetic for the scene classes of the synthetic planet
        root: data of the task; for eurosat the folder of class folders, for synthetic the archive
        out: folder for the records
        protocol: list of knn (weighted k-NN, k 20, T 0.07) and linear (logistic regression); without it both
        split: named split of the task
        seeds: list of seeds, an untrained network for each; without it [0]; only for random.* names
        image_size: height and width that an untrained network is fed [px]; without it 224
        untrained: judge the network of a file or run as it was before its first step
        epochs: of protocols that train, in place of their own: for a quick look
        save_features: keep the features of the test part beside the scores
        json: print the scores as JSON

    Returns:
        Exit status 0.
    """
    from ssl4eo.evaluation.protocols.table import DEFAULTS
    from ssl4eo.evaluation.run import evaluate, load_network
    from ssl4eo.evaluation.tasks.table import open_task

    if seeds is not None and not checkpoint.startswith("random."):
        raise ConfigInvalid(
            f"seeds {seeds} for {checkpoint}",
            expected="none: a file has its own weights",
            remedy="leave seeds out, or name an untrained network such as random.resnet18.s2l1c",
        )
    wanted = [0] if seeds is None else seeds
    if not wanted or len(set(wanted)) != len(wanted) or min(wanted) < 0:
        raise ConfigInvalid(f"seeds {seeds}", expected="one or more numbers from 0, each once")
    scores: list[Score] = []
    opened = None
    for seed in wanted:
        network = load_network(checkpoint, seed=seed, image_size=image_size, untrained=untrained)
        opened = opened or open_task(task, root, split=split, contract=network.backbone.contract)
        with progress_bar(f"{checkpoint}, seed {network.seed}: features of {task}") as progress:
            scores += evaluate(
                network,
                opened,
                protocol or DEFAULTS[opened.kind],
                out=out,
                save_features=save_features,
                epochs=epochs,
                progress=progress,
            )
    if json:
        sys.stdout.write(dumps([score.to_json() for score in scores], indent=2) + "\n")
    else:
        _show(scores)
    return 0


def _show(scores: Sequence[Score]) -> None:
    """Print a table of the scores on stdout."""
    first = scores[0]
    table = Table(
        title=f"{first.checkpoint}{'' if first.pretrained else ' (untrained)'} on {first.task}"
        f"{' (synthetic data)' if first.synthetic else ''}, split {first.split}",
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
