# SPDX-License-Identifier: Apache-2.0
"""A network that is in no table of ours: any torch module from scaled images to features, with what it wants to be fed.

It stands wherever a `Backbone` is read: `embed`, k-NN, linear probe, fine-tuning, features of an archive, and dense
protocols where the module gives maps. What has to know how a network is built (our files, exports, other bands) refuses
it and says what to do instead.
Letters: B batch, C channels, S side of the image [px], D length of a feature, h and w a map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ssl4eo.backbones.architectures import BackboneOptions, check_whole
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.modes import evaluating
from ssl4eo.contract import InputContract, is_contract
from ssl4eo.errors import ConfigInvalid, ContractMismatch, Ssl4eoError

Levels = Callable[[nn.Module, Tensor], Sequence[Tensor]]
"""(the module, images (B, C, S, S)) -> maps (B, D, h, w), finest first."""
_TRIED = 2
"""Images of the pass that finds out what the module gives."""


class OwnBackbone(Backbone):
    """A module of one's own, from scaled images (B, C, S, S) float32 to features (B, D), and what it wants to be fed.

    >>> from ssl4eo.contract import network_input
    >>> means = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> own = OwnBackbone(means, network_input("S2L1C"), image_size=64, name="band_means", trained=False)
    >>> own.num_features, own(torch.rand(5, 13, 64, 64)).shape
    (13, torch.Size([5, 13]))
    """

    def __init__(
        self,
        module: nn.Module,
        contract: InputContract,
        *,
        image_size: int,
        name: str,
        trained: bool,
        method: str = "",
        levels: Levels | None = None,
    ) -> None:
        """Take a module as it is, and try it once on black images, in evaluation mode, to learn what it gives.

        Args:
            module: of any kind; it is not copied, and its weights, device and mode stay as they are.
            contract: of the values that enter the module: `network_input("S2L1C")` for reflectance of 0 to 1,
                `stored("S2L1C")` for a module that scales digital numbers itself.
            image_size: height and width that it is fed [px]; `embed` and `evaluate` resize to it.
            name: of its kind, for records, such as swin_tiny.
            trained: whether its weights were learned: nobody can see that, and records tell baselines from others.
            method: that trained it, for records, such as simclr.
            levels: gives maps of an image, for dense protocols; called with the module, which may be a copy of this
                one: it must not reach for another. Of many networks of timm
                `lambda net, images: net.forward_intermediates(images, intermediates_only=True)`.

        Raises:
            ConfigInvalid: no module, no name, or one that cannot see such images or gives no features or maps.
            ContractMismatch: no contract.
        """
        nn.Module.__init__(self)  # not Backbone's, which builds a network by the name of its architecture
        if not isinstance(module, nn.Module) or not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance] - of callers without types
            raise ConfigInvalid(f"a {type(module).__name__} called {name!r}", expected="a torch module and its name")
        if not is_contract(contract):
            raise ContractMismatch(
                f"{contract!r} for a contract", expected="such as ssl4eo.contract.network_input('S2L1C')"
            )
        if any(value.is_meta for value in (*module.parameters(), *module.buffers())):
            raise ConfigInvalid(f"{name} on torch's device meta", expected="a module with weights")
        check_whole(image_size)
        self.arch, self.contract, self.image_size = name, contract, int(image_size)
        self.options, self.patch = BackboneOptions(), None
        self.trained, self.method, self._levels = trained, method, levels
        self.net = module
        if next(module.parameters(), None) is None:  # its device and type are asked of the first parameter
            self.place = nn.Parameter(torch.zeros(()), requires_grad=False)
        self._num_features, self._widths = self._try()

    @property
    def num_features(self) -> int:
        """Length D of a feature, as the module gives it."""
        return self._num_features

    @property
    def has_levels(self) -> bool:
        """Say whether it gives maps."""
        return self._levels is not None

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Give the channels D of each map, finest first.

        Raises:
            ConfigInvalid: it gives none.
        """
        self._require_levels()
        return self._widths

    def level_maps(self, images: Tensor) -> list[Tensor]:
        """Give maps (B, D, h, w) of scaled images (B, C, S, S), finest first.

        Raises:
            ConfigInvalid: it gives none, or something else than maps.
            ContractMismatch: another number of channels than the contract's.
        """
        levels = self._require_levels()
        self.require_channels(images)
        maps = levels(self.net, self._as_wanted(images))
        if not _are_maps(maps, len(images)):
            raise self._gives("levels", maps, f"maps ({len(images)}, D, h, w), finest first")
        sides = [m.shape[-1] for m in maps]
        if sides != sorted(sides, reverse=True):
            raise self._gives("levels", maps, "the finest first")
        return [m.float() for m in maps]

    def forward(self, images: Tensor) -> Tensor:
        """Give features (B, D) of scaled images (B, C, S, S).

        Raises:
            ContractMismatch: another number of channels than the contract's.
            ConfigInvalid: the module gives something else.
        """
        self.require_channels(images)
        features = self.net(self._as_wanted(images))
        if not _are_features(features, len(images)):
            raise self._gives("the module", features, f"features ({len(images)}, D) of floating point")
        return features.float()

    def with_image_size(self, image_size: int) -> OwnBackbone:
        """Give a copy that is fed images of another size [px].

        Raises:
            ConfigInvalid: the module cannot see them.
        """
        return OwnBackbone(
            copy.deepcopy(self.net),
            self.contract,
            image_size=image_size,
            name=self.arch,
            trained=self.trained,
            method=self.method,
            levels=self._levels,
        ).train(self.training)

    def _as_wanted(self, images: Tensor) -> Tensor:
        """Give images in the type of the weights; ours come channels last, in which `view` of a module may fail."""
        return images.to(next(self.parameters()).dtype).contiguous()

    def _try(self) -> tuple[int, tuple[int, ...]]:
        """Find length of a feature and channels of the maps."""
        like, size = next(self.parameters()), self.image_size
        shape = (_TRIED, self.contract.num_bands, size, size)
        try:
            images = torch.zeros(shape, device=like.device, dtype=like.dtype)
            with evaluating(self), torch.no_grad():
                features = self(images)
                maps = [] if self._levels is None else self.level_maps(images)
        except Ssl4eoError:
            raise
        except Exception as error:
            raise ConfigInvalid(
                f"{self.arch} cannot see images {shape} ({type(error).__name__}: {' '.join(str(error).split())[:200]})",
                expected=f"a module for {self.contract}, {size} x {size} px",
                remedy="give the image_size and the contract that it was made for",
            ) from error
        return features.shape[1], tuple(m.shape[1] for m in maps)

    def _require_levels(self) -> Levels:
        if self._levels is None:
            raise ConfigInvalid(
                f"{self.arch} gives no maps of an image",
                expected="a function from (module, images) to maps, finest first",
                remedy="give OwnBackbone levels=..., or judge it by knn, linear and finetune",
            )
        return self._levels

    def _gives(self, what: str, found: object, expected: str) -> ConfigInvalid:
        return ConfigInvalid(
            f"{what} of {self.arch} gives {_shown(found)}",
            expected=expected,
            remedy="wrap it in a module, or a function, that picks, pools, flattens or permutes",
        )


def require_built_by_name(backbone: Backbone, doing: str, *, remedy: str) -> None:
    """Refuse a network of one's own where it must be known how a network is built.

    Args:
        backbone: in question.
        doing: what is to be done, as a noun.
        remedy: what to do instead.

    Raises:
        ConfigInvalid: it is one.
    """
    if isinstance(backbone, OwnBackbone):
        raise ConfigInvalid(f"{doing} {backbone.arch}, a module of your own", expected="a network of ours",
                            remedy=remedy)  # fmt: skip


def _are_features(found: object, num_images: int) -> bool:
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
        return False
    return len(found) == num_images and found.shape[1] > 0


def _are_maps(found: object, num_images: int) -> bool:
    if not isinstance(found, list | tuple) or not found:
        return False
    rows = cast("Sequence[object]", found)
    return all(isinstance(row, Tensor) and row.ndim == 4 and len(row) == num_images for row in rows)


def _shown(found: object) -> str:
    """Describe what a module gave.

    >>> _shown(torch.zeros(2, 3)), _shown([torch.zeros(1)]), _shown(None)
    ('(2, 3)', 'a list of (1,)', 'a NoneType')
    """
    if isinstance(found, Tensor):
        return str(tuple(found.shape))
    kind = f"a {type(found).__name__}"
    if not isinstance(found, list | tuple):
        return kind
    return f"{kind} of {', '.join(map(_shown, cast('Sequence[object]', found)))}"
