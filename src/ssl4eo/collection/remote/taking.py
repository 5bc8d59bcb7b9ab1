# SPDX-License-Identifier: Apache-2.0
"""The seasons of one instrument while they are filled: which acquisition each tries next, and what came of the others.

Pure bookkeeping: who reads is `collected.py`, which scenes may be tried is `selection.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssl4eo.collection.remote.selection import Acquisition, Choice
from ssl4eo.collection.remote.service import Patch, Product, Scene
from ssl4eo.errors import NoImagery, SourceInvalid


class Seasons:
    """Seasons of products that share acquisitions, on their way to a patch each."""

    def __init__(self, products: Mapping[str, Product], lists: Sequence[Sequence[Acquisition]], choice: Choice) -> None:
        """Begin.

        Args:
            products: by modality.
            lists: for each season the acquisitions to try, in order.
            choice: what is refused.
        """
        self.products = products
        self._choice = choice
        self._waiting = {number: list(listed) for number, listed in enumerate(lists)}
        self._used: set[str] = set()
        self._taken: dict[int, dict[str, Patch]] = {}
        self._faults: dict[int, SourceInvalid] = {}
        self._refused: dict[int, str] = {}

    def next(self) -> dict[int, Acquisition]:
        """Choose the next acquisition of every season that needs one and has one, none of them twice.

        Raises:
            SourceInvalid, NoImagery: none is left, and a season has no patch.
        """
        chosen: dict[int, Acquisition] = {}
        for number, listed in self._waiting.items():
            while listed and number not in chosen:
                acquisition = listed.pop(0)
                if acquisition.first.product not in self._used:
                    self._used.add(acquisition.first.product)
                    chosen[number] = acquisition
        if self._waiting and not chosen:
            self._give_up()
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

    def _give_up(self) -> None:
        for number in self._waiting:
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
