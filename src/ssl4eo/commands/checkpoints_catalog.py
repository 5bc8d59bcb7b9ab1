# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo checkpoints list|show|fetch`: published weights, what they need, and their files on this disk.

Plain text without rich, and no NumPy: a list answers at once.
"""

from __future__ import annotations

import contextlib
import json as jsonlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssl4eo.checkpoints.cache import cache_folder, cached, fetch_weights, is_offline
from ssl4eo.checkpoints.card import Card, Holds, WeightFile
from ssl4eo.checkpoints.catalog import CARDS, card
from ssl4eo.contract import SCALING_RULES, InputContract
from ssl4eo.errors import ConfigInvalid, unknown_name


def run_list(*, method: str | None, backbone: str | None, modality: str | None, json: bool) -> None:
    """Print the cards that fit, one a line.

    Raises:
        UnknownName: no card has such a method, network or input.
    """
    _list(_chosen(method=method, backbone=backbone, modality=modality), json=json)


def run_show(name: str, *, json: bool) -> None:
    """Print a card.

    Raises:
        UnknownName: there is none of this name.
        ConfigInvalid: the name is of something that has no card.
    """
    _show(_published("show", name), json=json)


def run_fetch(name: str, holds: Holds, *, offline: bool | None, json: bool) -> None:
    """Fetch a file into the cache and print its path.

    Raises:
        UnknownName, ConfigInvalid: as `run_show`.
        DataMissing, DownloadFailed, ChecksumMismatch, SourceInvalid, Busy, WriteFailed: as `fetch_weights`.
    """
    _fetch(_published("fetch", name), holds, offline=offline, json=json)


def _published(action: str, name: str) -> Card:
    """Find a card; what another action takes is told so."""
    if name not in CARDS and (name.startswith("random.") or "://" in name or os.sep in name or os.path.lexists(name)):
        is_random = name.startswith("random.")
        raise ConfigInvalid(
            f"checkpoints {action} {name}: {'an untrained network' if is_random else 'a file'} has no card",
            expected="a name of `ssl4eo checkpoints list`",
            remedy="load_backbone takes it as it is"
            + ("" if is_random else f", and `ssl4eo checkpoints inspect {name}` says what is in it"),
        )
    return card(name)


def _chosen(*, method: str | None, backbone: str | None, modality: str | None) -> tuple[Card, ...]:
    """Give the cards that fit.

    Raises:
        UnknownName: no card has such a method, network or input.
    """
    wanted = {"method": method, "backbone": backbone, "input": modality}
    chosen = list(CARDS.values())
    for kind, value in wanted.items():
        if value is None:
            continue
        known = {spelling for c in CARDS.values() for spelling in _spellings(c, kind)}
        if value.lower() not in known:
            raise unknown_name(f"published checkpoint's {kind}", value, sorted(known))
        chosen = [c for c in chosen if value.lower() in _spellings(c, kind)]
    return tuple(chosen)


def _spellings(c: Card, kind: str) -> tuple[str, ...]:
    """Give what a card may be chosen by: an input is a modality, or spelled as in its name."""
    return {"method": (c.method,), "backbone": (c.backbone,), "input": (c.contract.modality.lower(), c.input)}[kind]


def _list(cards: Sequence[Card], *, json: bool) -> None:
    if json:
        print(jsonlib.dumps([_plain(c) for c in cards], indent=2))  # noqa: T201 - the result
        return
    if not cards:
        print(f"none of the {len(CARDS)} published checkpoints is all of this")  # noqa: T201 - the result
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
    path = cached(file)
    return None if path is None else str(path)


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

    is_there = any(cached(file) for file in c.holding(holds))
    with contextlib.nullcontext() if is_there or is_offline(offline) else byte_bar(f"fetching {c.name}") as progress:
        path: Path = fetch_weights(c, holds=holds, offline=offline, progress=progress)
    print(jsonlib.dumps({"name": c.name, "holds": holds, "path": str(path)}) if json else path)  # noqa: T201 - the result
