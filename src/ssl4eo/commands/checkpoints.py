# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints list|show|fetch|inspect|export`: published weights, what they need, and their files on this disk.

Plain text without rich, and no NumPy: a list answers at once.
"""

from __future__ import annotations

import contextlib
import json as jsonlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ssl4eo.checkpoints.cache import cache_folder, cached_path, fetch_weights
from ssl4eo.checkpoints.card import Card, Holds, WeightFile
from ssl4eo.checkpoints.catalog import CARDS, card
from ssl4eo.contract import SCALING_RULES, InputContract
from ssl4eo.errors import ConfigInvalid, unknown_name

_OPTIONS = {
    "list": ("method", "backbone", "modality"),
    "show": (),
    "fetch": ("holds", "offline"),
    "inspect": ("filters", "keys", "offline"),
    "export": ("form", "out", "licence"),
}
"""What each action understands, beside --json."""


def run(  # noqa: PLR0913 - each is an option of the command line
    action: Literal["list", "show", "fetch", "inspect", "export"],
    name: str | None = None,
    *,
    method: str | None = None,
    backbone: str | None = None,
    modality: str | None = None,
    holds: Holds | None = None,
    offline: bool = False,
    filters: Path | None = None,
    keys: bool = False,
    form: str | None = None,
    out: Path | None = None,
    licence: str | None = None,
    json: bool = False,
) -> int:
    """List published weights, show the card of one, fetch its files, look into any file, or export a network.

    Args:
        action: list all, show one, fetch one into the cache and print where it is, inspect a file, or export
            one for another library.
        name: of the checkpoint to show or fetch, such as dino.vit_small_16.s2l1c; to inspect or export also a
            file, a run's folder or an address.
        method: list those of one method.
        backbone: list those of one network.
        modality: list those of one input, a modality (S1GRD) or as in their names (s2rgb).
        holds: what to fetch, backbone (the default), full, or log.
        offline: fetch nothing, find what is in the cache; SSL4EO_OFFLINE=1 does the same.
        filters: where inspect draws the first layer, a PNG file.
        keys: let inspect list what becomes of each key.
        form: of an export: timm, torchvision, torchgeo, huggingface (a folder), onnx, or published (of a run).
        out: file or folder that an export makes.
        licence: of the weights, for the card of an export, such as cc-by-4.0.
        json: print JSON for programs.
    """
    options = {"method": method, "backbone": backbone, "modality": modality, "holds": holds, "offline": offline}
    options |= {"filters": filters, "keys": keys, "form": form, "out": out, "licence": licence}
    foreign = [key for key, value in options.items() if value and key not in _OPTIONS[action]]
    if foreign:
        raise ConfigInvalid(
            f"checkpoints {action} with --{foreign[0]}",
            expected=" or ".join(f"--{key}" for key in (*_OPTIONS[action], "json")),
        )
    if action == "list":
        if name is not None:
            raise ConfigInvalid(
                f"checkpoints list {name}", expected="no name", remedy=f"did you mean checkpoints show {name}?"
            )
        _list(_chosen(method=method, backbone=backbone, modality=modality), json=json)
        return 0
    if name is None:
        raise ConfigInvalid(
            f"checkpoints {action} without a name",
            expected="one of `ssl4eo checkpoints list`" + (", or a file" if action == "inspect" else ""),
        )
    if action == "inspect":
        from ssl4eo.commands.checkpoints_inspect import run_inspect

        run_inspect(name, filters=filters, keys=keys, offline=offline or None, json=json)
    elif action == "export":
        from ssl4eo.commands.checkpoints_export import run_export

        if form is None or out is None:
            raise ConfigInvalid("checkpoints export", expected="--form and --out, as in docs/export.md")
        return run_export(name, form, out, licence=licence, json=json)
    elif action == "show":
        _show(card(name), json=json)
    else:
        _fetch(card(name), holds or "backbone", offline=offline or None, json=json)
    return 0


def _chosen(*, method: str | None, backbone: str | None, modality: str | None) -> tuple[Card, ...]:
    """Give the cards that fit.

    Raises:
        UnknownName: no card has such a method, network or input.
    """
    chosen = tuple(CARDS.values())
    inputs = {c.name: (c.contract.modality.lower(), c.input) for c in chosen}
    known = {
        "method": (method, {c.method for c in chosen}),
        "backbone": (backbone, {c.backbone for c in chosen}),
        "input": (modality and modality.lower(), {spelling for both in inputs.values() for spelling in both}),
    }
    for kind, (wanted, values) in known.items():
        if wanted is not None and wanted not in values:
            raise unknown_name(f"published checkpoint's {kind}", wanted, sorted(values))
    return tuple(
        c
        for c in chosen
        if method in (None, c.method)
        and backbone in (None, c.backbone)
        and (modality is None or modality.lower() in inputs[c.name])
    )


def _list(cards: Sequence[Card], *, json: bool) -> None:
    if json:
        print(jsonlib.dumps([_plain(c) for c in cards], indent=2))  # noqa: T201 - the result
        return
    rows = [("checkpoint", "reads", "epochs", "BigEarthNet EuroSAT So2Sat [%]", "files", "in the cache")]
    rows += [
        (
            c.name,
            _reads(c),
            str(c.epochs),
            " ".join(f"{score.value:.1f}" for score in c.scores) or "-",
            ", ".join(dict.fromkeys(file.holds for file in c.files)),
            ", ".join(dict.fromkeys(file.holds for file in c.files if _where(file))) or "-",
        )
        for c in cards
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(line.rstrip())  # noqa: T201 - the result


def _reads(c: Card) -> str:
    """Name the modality of an input, and its bands where they are few."""
    return f"{c.contract.modality} " + (" ".join(c.contract.bands) if c.contract.num_bands < 4 else "all bands")


def _plain(c: Card) -> dict[str, Any]:
    """Give a card as plain values, with the place of each file that is in the cache."""
    return c.to_json() | {"files": [asdict(file) | {"cached": _where(file)} for file in c.files]}


def _where(file: WeightFile) -> str | None:
    path = cached_path(file)
    return str(path) if path.is_file() else None


def _show(c: Card, *, json: bool) -> None:
    if json:
        print(jsonlib.dumps(_plain(c), indent=2))  # noqa: T201 - the result
        return
    lines = [
        c.name,
        "",
        "what it is",
        f"  {c.method}, {c.backbone}, {c.epochs} epochs on images of {c.image_size} px",
        f"  {c.data}",
        f"  license: {c.license}",
        *(f"  {s.task}: {s.value} {s.unit}, {s.protocol} ({s.source})" for s in c.scores),
        *(() if c.scores else ("  no scores are published for it",)),
        "",
        "input it needs",
        f"  {_spelled(c.contract)}",
        *(f"  published too: {_spelled(other)}" for other in c.alternatives),
        f"  how sure: {c.certainty}",
        "",
        f"recommended: {c.recommended}",
        f"not recommended: {c.not_recommended}",
        "",
        f"files, in {cache_folder()} (placed by hand they are found too)",
        *(line for file in c.files for line in _file_lines(file)),
        "",
        f"ssl4eo checkpoints fetch {c.name}",
    ]
    print("\n".join(lines))  # noqa: T201 - the result


def _spelled(contract: InputContract) -> str:
    """Say a contract with its scaling in a formula."""
    rules = [SCALING_RULES[part.scaling.partition(":")[0]].partition(", with")[0] for part in contract.parts]
    return f"{contract}: {', '.join(rules)}"


def _file_lines(file: WeightFile) -> list[str]:
    state = "in the cache" if _where(file) else "not in the cache"
    size = "size not told" if file.size is None else f"{file.size} bytes"
    digits = f"sha256 {file.sha256_start}" if file.sha256_start else "no hash published"
    lines = [f"  {file.holds}: {file.name}, {state}", f"    {file.publisher}, {size}, {digits}", f"    {file.url}"]
    return [*lines, f"    not verified: {file.unverified}"] if file.unverified else lines


def _fetch(c: Card, holds: Holds, *, offline: bool | None, json: bool) -> None:
    from ssl4eo.progress import byte_bar

    is_there = any(cached_path(file).is_file() for file in c.holding(holds))
    with contextlib.nullcontext() if is_there or offline else byte_bar(f"fetching {c.name}") as progress:
        path: Path = fetch_weights(c, holds=holds, offline=offline, progress=progress)
    print(jsonlib.dumps({"name": c.name, "holds": holds, "path": str(path)}) if json else path)  # noqa: T201 - the result
