# SPDX-License-Identifier: Apache-2.0
"""What MAE makes of the patches that it does not see, as an image. Letters as in methods/mae.py."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl4eo.backbones.modes import evaluating
from ssl4eo.methods.mae import MAE, denormalize, patchify, unpatchify
from ssl4eo.methods.masked import places, take


def reconstruct(mae: MAE, images: Tensor, masks: Tensor) -> Tensor:
    """Give images (B, C, S, S) whose hidden patches are predicted, and whose visible ones are as they were.

    The normalization of the pixels to predict is undone by mean and deviation of the true patches.

    Args:
        mae: encoder and decoder.
        images: (B, C, S, S), scaled.
        masks: (B, L) bool, True = hidden.
    """
    with evaluating(mae), torch.no_grad():
        visible, hidden = places(masks, mae.num_masked)
        predicted = mae.decoder(mae.encode(images, visible), visible, hidden).float()
    return put_back(mae, images, hidden, predicted)


def put_back(mae: MAE, images: Tensor, hidden: Tensor, predicted: Tensor) -> Tensor:
    """Put predicted patches (B, M, p * p * C), as the loss compares them, at their places (B, M) in the images."""
    patches = patchify(images, mae.patch)  # (B, L, p * p * C)
    kept = (images != 0).flatten(2).any(dim=2)  # (B, C)
    target = take(patches, hidden)
    pixels = denormalize(predicted, target, mae.config.norm_pixels, mae.patch**2, kept)
    return unpatchify(patches.scatter(1, hidden[:, :, None].expand_as(pixels), pixels), mae.patch)


def hide(images: Tensor, masks: Tensor, patch: int) -> Tensor:
    """Give images (B, C, S, S) whose hidden patches are NaN."""
    patches = patchify(images, patch).masked_fill(masks[:, :, None], torch.nan)
    return unpatchify(patches, patch)
