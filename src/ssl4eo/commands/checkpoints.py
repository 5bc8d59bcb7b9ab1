# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints list|show|fetch|inspect|export`: each action is a function whose signature is its command line.

What does the work is loaded when it is called, so that a list and every help answer at once.
"""

from __future__ import annotations

from pathlib import Path

from ssl4eo.checkpoints.card import Holds
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.commands.actions import Action, Actions


def list_cards(
    *, method: str | None = None, backbone: str | None = None, modality: str | None = None, json: bool = False
) -> int:
    """List published weights: input, epochs, scores, kinds of files, and what is in the cache.

    Args:
        method: list those of one method, such as mae.
        backbone: list those of one network, such as vit_small_16.
        modality: list those of one input, a modality (S1GRD) or as in their names (s2rgb).
        json: print JSON for programs.
    """
    from ssl4eo.commands.checkpoints_catalog import run_list

    run_list(method=method, backbone=backbone, modality=modality, json=json)
    return 0


def show_card(name: str, *, json: bool = False) -> int:
    """Show the card of published weights: input, how sure it is, scores, license, files.

    Args:
        name: of the checkpoint, as `ssl4eo checkpoints list` has it.
        json: print JSON for programs.
    """
    from ssl4eo.commands.checkpoints_catalog import run_show

    run_show(name, json=json)
    return 0


def fetch_files(name: str, *, holds: Holds = "backbone", offline: bool = False, json: bool = False) -> int:
    """Fetch published weights into the cache, and print the path of the file.

    Args:
        name: of the checkpoint, as `ssl4eo checkpoints list` has it.
        holds: which of its files: the backbone, the full checkpoint, or the log.
        offline: fetch nothing, find what is in the cache; SSL4EO_OFFLINE=1 does the same.
        json: print JSON for programs.
    """
    from ssl4eo.commands.checkpoints_catalog import run_fetch

    run_fetch(name, holds, offline=offline or None, json=json)
    return 0


def inspect_file(
    name: str, *, filters: Path | None = None, keys: bool = False, offline: bool = False, json: bool = False
) -> int:
    """Say what is in any file of weights, and whether it can be loaded.

    Args:
        name: a file, a run's folder, a name of `ssl4eo checkpoints list`, or an address (https://...).
        filters: where to draw the first layer, a file that ends in .png.
        keys: list what becomes of each key.
        offline: fetch nothing, find what is in the cache; SSL4EO_OFFLINE=1 does the same.
        json: print JSON for programs.
    """
    from ssl4eo.commands.checkpoints_inspect import run_inspect

    run_inspect(name, filters=filters, keys=keys, offline=offline or None, json=json)
    return 0


def export_network(
    source: str, *, form: str, out: Path, licence: str | None = None, offline: bool = False, json: bool = False
) -> int:
    """Write a network for another library; docs/export.md has an example of each form.

    Args:
        source: a run's folder, a file of weights of ours or of others, a name of `ssl4eo checkpoints list`, an address
            (https://...), or random.<backbone>.<input>; the form published takes a run's folder.
        form: timm, torchvision, torchgeo, huggingface (a folder), onnx, or published (of a run).
        out: file, or for huggingface folder, to make.
        licence: of the weights, for the card, such as cc-by-4.0.
        offline: fetch nothing, find what is in the cache; SSL4EO_OFFLINE=1 does the same.
        json: print JSON for programs.
    """
    from ssl4eo.commands.checkpoints_export import run_export

    return run_export(source, form, out, licence=licence, offline=offline, json=json)


ACTIONS = Actions(
    "checkpoints",
    "Published weights: list, show, fetch. Any weights: inspect, export.",
    {
        "list": Action(list_cards, "what is published", "list --method mae --modality S1GRD"),
        "show": Action(show_card, "the card of one: what it needs, its files", "show dino.vit_small_16.s2l1c"),
        "fetch": Action(fetch_files, "its files, into the cache", "fetch dino.vit_small_16.s2l1c --holds full"),
        "inspect": Action(inspect_file, "what is in any file of weights", "inspect a.pth --keys --filters a.png"),
        "export": Action(
            export_network, "a network for another library", "export runs/first --form timm --out first.pth"
        ),
    },
    is_name=CARDS.__contains__,
)
build_parser, run_parsed = ACTIONS.build_parser, ACTIONS.run_parsed
