# SPDX-License-Identifier: Apache-2.0
"""A contract's conversion as a layer: from values as stored to what a network expects, on any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl4eo.contract import UNBOUNDED, InputContract, announce, check_bands, plan_remap
from ssl4eo.views.mixed import MixedViews


class Adapter(nn.Module):
    """Picks, shifts, scales and clips bands as `plan_remap(source, target)` says; always in float32."""

    gain: Tensor
    bias: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, source: InputContract, target: InputContract) -> None:
        """Plan the conversion and log it once.

        Raises:
            ContractMismatch: no such conversion is known.
        """
        super().__init__()
        self.remap = plan_remap(source, target)
        self._plain = self.remap.index == tuple(range(source.num_bands))
        affine = self.remap.affine
        low, high = zip(*affine.clip, strict=True)
        for name, values in (("gain", affine.gain), ("bias", affine.bias), ("low", low), ("high", high)):
            column = torch.tensor(values, dtype=torch.float32)[:, None, None]  # (C, 1, 1)
            self.register_buffer(name, column, persistent=False)
        ranges = set(affine.clip)
        self._range = ranges.pop() if len(ranges) == 1 else None  # of all bands: one bound is quicker than a column
        announce(self.remap)

    def forward(self, values: Tensor | MixedViews, out: Tensor | None = None) -> Tensor:
        """Convert (B, C, H, W) of any dtype, or of several, to float32 (B, C', H, W), written to `out` if it is given.

        Raises:
            ContractMismatch: another number of bands than the source contract.
        """
        check_bands(values.shape, self.remap.source)
        if isinstance(values, MixedViews):
            values = values.float()
        if not self._plain:
            zero = torch.zeros_like(values[:, 0])
            values = torch.stack([zero if i is None else values[:, i] for i in self.remap.index], dim=1)
        out = torch.mul(values.float(), self.gain, out=out).add_(self.bias)  # on CPUs twice as fast as addcmul
        if self._range is None:
            return out.clamp_(self.low, self.high)
        return out if self._range == UNBOUNDED else out.clamp_(*self._range)
