# SPDX-License-Identifier: Apache-2.0
"""Frozen features: each item's whole patch, resized to what the network was trained on, through the network once.

No augmentation, no cropping, no flips. The network is read, never changed: it runs in evaluation mode
without gradients, and the mode of every layer is put back. Nothing random is drawn.
The next batch is rendered beside the forward pass, in one thread of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.modes import evaluating
from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.tasks.task import LabelledPixels
from ssl4eo.loading.prefetch import prefetched
from ssl4eo.memory import telling_shortage
from ssl4eo.views.compose import PLAIN, Renderer
from ssl4eo.views.resample import one_blas_thread

Precision = Literal["32", "bf16"]
"""32: float32 throughout; bf16: autocast, about 3 digits."""


def extract(
    backbone: Backbone,
    part: LabelledPixels,
    *,
    batch_size: int = 64,
    precision: Precision = "32",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Compute the features of a part: (N, D) float32 on the CPU, in the part's order.

    Args:
        backbone: stays on its device and as it is.
        part: what to look at.
        batch_size: items at a time.
        precision: of the forward pass.
        progress: called with (items done, items in all) after each batch.

    Raises:
        ContractMismatch: the pixels cannot be converted into the network's input.
        SampleInvalid: the features of an item are not finite; the message names it.
        OutOfMemory: so many items at a time have no room on this machine.
    """
    device = next(backbone.parameters()).device
    adapter = Adapter(part.source.contract, backbone.contract).to(device)
    rows: list[Tensor] = []
    doing = f"{batch_size} images of {backbone.image_size} px at a time"
    with telling_shortage(doing, lambda: _FEWER), evaluating(backbone), torch.inference_mode():
        for start, views in prefetched(_batches(part, backbone.image_size, batch_size)):
            scaled = adapter(views.to(device)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                features = backbone(scaled)
            rows.append(features.float().cpu())
            _check_finite(rows[-1], views, part, start)
            if progress is not None:
                progress(start + len(views), len(part))
    # Out of inference mode: a plain tensor that anybody may use.
    return torch.cat(rows).clone() if rows else torch.empty(0, backbone.num_features)


_FEWER = "take fewer at a time (batch_size), or a smaller network"


def _batches(part: LabelledPixels, size: int, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (position of the first item, views (B, C, S, S) in the source's dtype)."""
    render = Renderer(part.source.contract, part.source.form)
    for start in range(0, len(part), batch_size):
        stop = min(start + batch_size, len(part))
        with one_blas_thread():
            views = [
                render(
                    part.source.pixels(int(part.items[i]), int(part.seasons[i]), resolutions=render.resolutions),
                    size,
                    PLAIN,
                )
                for i in range(start, stop)
            ]
        yield start, torch.from_numpy(np.stack(views))


def _check_finite(features: Tensor, views: Tensor, part: LabelledPixels, start: int) -> None:
    bad = (~torch.isfinite(features).all(dim=1)).nonzero()[:, 0]
    if not len(bad):
        return
    first = int(bad[0])
    broken = views.is_floating_point() and not bool(torch.isfinite(views[first]).all())
    raise SampleInvalid(
        f"the features of item {part.ids[start + first]} are not finite"
        + (": its pixels hold NaN or infinity" if broken else ""),
        expected="finite features",
        remedy="leave the item out, or fill its pixels" if broken else "use precision 32, and inspect the checkpoint",
        item=part.ids[start + first],
    )
