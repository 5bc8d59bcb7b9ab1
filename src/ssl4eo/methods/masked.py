# SPDX-License-Identifier: Apache-2.0
"""What methods that hide patches share: what they ask of a run, and how patches are taken apart by their masks.

Masks hide the same number of patches in every row (views/masking.py sees to it), so that what is seen and what is
hidden are rectangles and nothing has to wait for a device to count. Letters: B batch, L patches, D dims.
"""

from __future__ import annotations

from torch import Tensor

from ssl4eo.backbones.architectures import check_image_size, patch_size
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import Setting


def patch_grid(setting: Setting, *, method: str) -> int:
    """Give the patches along each axis of the one view that `method` sees.

    Raises:
        ConfigInvalid: a residual network, more than one view, or an image that is no multiple of the patch.
    """
    patch = patch_size(setting.arch)
    if patch is None:
        raise ConfigInvalid(
            f"{method} with {setting.arch}",
            expected=f"a vision transformer: {method} needs a transformer, whose patches can be hidden",
            remedy="choose a recipe with one, such as vit_small_16",
        )
    if setting.num_views != 1:
        raise ConfigInvalid(f"{setting.num_views} views for {method}", expected="1", remedy="use views of kind OneView")
    check_image_size(setting.arch, setting.image_size)
    return setting.image_size // patch


def check_hidden(option: str, hidden: int, grid: int, *, remedy: str) -> None:
    """Raise ConfigInvalid, in the words of the option, where no patch would be hidden, or none would be left.

    Args:
        option: its name and its value.
        hidden: patches that it hides.
        grid: patches along each axis.
        remedy: what to do, if there are patches enough for anything.
    """
    num_patches = grid**2
    if num_patches < 2:
        raise ConfigInvalid(
            f"{option}: a view of {num_patches} patch",
            expected="2 or more, of which some are hidden",
            remedy="use smaller patches or a larger view",
        )
    if not 0 < hidden < num_patches:
        raise ConfigInvalid(
            f"{option}: {hidden} of {num_patches} patches masked",
            expected=f"1 to {num_patches - 1}: the network must see something and have something to predict",
            remedy=remedy,
        )


def places(masks: Tensor, num_masked: int) -> tuple[Tensor, Tensor]:
    """Give the places (B, L - M) of the visible patches and (B, M) of the hidden ones, each in order of place.

    Args:
        masks: (B, L) bool, True = hidden, `num_masked` times in each row.
        num_masked: M, known beforehand, so that the device is not waited for.
    """
    order = masks.byte().argsort(dim=1, stable=True)  # (B, L): False before True
    return order[:, : masks.shape[1] - num_masked], order[:, masks.shape[1] - num_masked :]


def take(tokens: Tensor, at: Tensor) -> Tensor:
    """Take from tokens (B, L, D) those at places (B, N): (B, N, D)."""
    return tokens.gather(1, at[:, :, None].expand(-1, -1, tokens.shape[2]))
