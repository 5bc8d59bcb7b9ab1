# SPDX-License-Identifier: Apache-2.0
"""The table of docs/choose-a-checkpoint.md, made from the catalog: helper of its test.

Print it with: python tests/docs/checkpoint_rows.py
"""

from __future__ import annotations

from ssl4eo.checkpoints.card import Card
from ssl4eo.checkpoints.catalog import CARDS

COLUMNS = ("checkpoint", "reads", "epochs", "backbone alone", "scores [%]", "licence")


def rows() -> list[str]:
    """Give the lines of the table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    return [*lines, *(f"| {' | '.join(_cells(card))} |" for card in CARDS.values())]


def _cells(card: Card) -> tuple[str, ...]:
    reads = f"{card.contract.modality}, {card.contract.num_bands} bands"
    scores = " ".join(f"{score.value:.1f}" for score in card.scores) or "none published"
    licence = card.license.partition(";")[0]
    return f"`{card.name}`", reads, str(card.epochs), _size(card), scores, licence


def _size(card: Card) -> str:
    files = [file for file in card.files if file.holds == "backbone"]
    if not files:
        return "no: cut out of the full checkpoint"
    known = [file.size for file in files if file.size is not None]
    return f"{known[0] / 1e6:.0f} MB" if known else "size not published"


if __name__ == "__main__":
    print("\n".join(rows()))  # noqa: T201 - the table
