# SPDX-License-Identifier: Apache-2.0
"""Seasons while they are filled: which acquisition each tries next, in which year, and what came of the others.

Pure bookkeeping: who reads is `collected.py`, which scenes may be tried is `selection.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssl4eo.collection.remote.selection import Acquisition, Choice
from ssl4eo.collection.remote.service import Patch, Product, Scene
from ssl4eo.errors import NoImagery, SourceInvalid


class Seasons:
    """Seasons of products that share acquisitions, on their way to a patch each."""

    def __init__(
        self, products: Mapping[str, Product], lists: Sequence[Sequence[Sequence[Acquisition]]], choice: Choice
    ) -> None:
        """Begin.

        Args:
            products: by modality.
            lists: for each season and each range of its window the acquisitions to try, in order.
            choice: what is refused.
        """
        self.products = products
        self.lists = lists
        self._choice = choice
        self._waiting: dict[int, list[Acquisition]] = {}
        self._used: set[str] = set()
        self._taken: dict[int, dict[str, Patch]] = {}
        self._faults: dict[int, SourceInvalid] = {}
        self._refused: dict[int, str] = {}

    def turn(self, number: int, wanted: int) -> None:
        """Let a season begin in a range of its window; what it had of another is given back."""
        self._taken.pop(number, None)
        self._waiting[number] = list(self.lists[number][wanted][: self._choice.tries])

    def stuck(self) -> list[int]:
        """List the seasons that have no patch, and no acquisition left that no other season has tried."""
        return [n for n, listed in self._waiting.items() if all(a.first.product in self._used for a in listed)]

    def next(self) -> dict[int, Acquisition]:
        """Choose the next acquisition of every season that needs one and has one, none of them twice."""
        chosen: dict[int, Acquisition] = {}
        for number, listed in self._waiting.items():
            while listed and number not in chosen:
                acquisition = listed.pop(0)
                if acquisition.first.product not in self._used:
                    self._used.add(acquisition.first.product)
                    chosen[number] = acquisition
        return chosen

    def scenes(self, name: str, chosen: Mapping[int, Acquisition]) -> list[Scene]:
        """List the scenes of a product in what was chosen."""
        return [acquisition.scenes[name] for acquisition in chosen.values()]

    def settle(self, chosen: Mapping[int, Acquisition], read: Mapping[str, Sequence[Patch | SourceInvalid]]) -> None:
        """Take what will do of what was read; the others wait for their next acquisition."""
        for place, number in enumerate(chosen):
            patches = {name: read[name][place] for name in self.products}
            fault = next((p for p in patches.values() if isinstance(p, SourceInvalid)), None)
            good = {name: p for name, p in patches.items() if isinstance(p, Patch)}
            why = next((w for n, p in good.items() if (w := self._refusal(p, self.products[n])) is not None), None)
            if fault is not None:
                self._faults[number] = fault
            elif why is not None:
                self._refused[number] = why
            else:
                self._taken[number] = good
                del self._waiting[number]

    def patches(self) -> dict[str, list[Patch]]:
        """Give by modality the patches of all seasons, in their order."""
        return {name: [self._taken[number][name] for number in sorted(self._taken)] for name in self.products}

    def give_up(self, number: int) -> None:
        """Say why a season has no patch.

        Raises:
            SourceInvalid, NoImagery: always.
        """
        if number in self._faults:
            raise self._faults[number]
        why = self._refused.get(number, "its scenes are those of other seasons")
        raise NoImagery(f"season {number}: {why}", expected="a clear patch that is wholly observed")

    def _refusal(self, patch: Patch, product: Product) -> str | None:
        """Say why a patch will not do."""
        if patch.observed < self._choice.min_observed:
            return f"{patch.image.product} covers {patch.observed:.1%} of the patch"
        if self._choice.max_patch_cloud is None:
            return None
        if patch.cloud is None and product.mask:
            return f"the mask of {patch.image.product} tells nothing of the patch"
        if (patch.cloud or 0.0) > self._choice.max_patch_cloud:
            return f"{patch.image.product} has {patch.cloud:.1%} clouds in the patch"
        return None


class Filling:
    """The seasons of all instruments of a place: each season in one range of its window, the same for all of them.

    So radar and optics of a season are of one year, and the seasons of every instrument follow each other alike.
    """

    def __init__(self, groups: Sequence[Seasons]) -> None:
        """Begin with the ranges that are preferred and in which every instrument has a candidate.

        Raises:
            NoImagery: a season has no such range.
        """
        self._groups = groups
        self._left: dict[int, list[int]] = {}
        self.ranges: dict[int, int] = {}
        """By season the range that is filled."""
        for number, first in enumerate(groups[0].lists):
            self._left[number] = [r for r in range(len(first)) if all(g.lists[number][r] for g in groups)]
            if not self._left[number]:
                raise _nothing(groups, number)
            self._turn(number)

    def next(self) -> list[dict[int, Acquisition]]:
        """Choose for each instrument what is read next; nothing is left where all is filled.

        Raises:
            SourceInvalid, NoImagery: a season cannot be filled in any range.
        """
        while stuck := next(((group, number) for group in self._groups for number in group.stuck()), None):
            group, number = stuck
            if not self._left[number]:
                group.give_up(number)
            self._turn(number)
        return [group.next() for group in self._groups]

    def _turn(self, number: int) -> None:
        self.ranges[number] = self._left[number].pop(0)
        for group in self._groups:
            group.turn(number, self.ranges[number])


def _nothing(groups: Sequence[Seasons], number: int) -> NoImagery:
    for group in groups:
        if not any(group.lists[number]):
            return NoImagery(f"no {' and '.join(group.products)} in season {number}", expected="a scene")
    return NoImagery(
        f"no year in which all of {' '.join(name for g in groups for name in g.products)} see season {number}",
        expected="a scene of each in one of the years",
    )
