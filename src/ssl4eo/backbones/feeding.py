# SPDX-License-Identifier: Apache-2.0
"""What may be fed to a network: arrays, tensors and images are looked at before anything is computed from them.

What is only laid out otherwise (a mirrored view, another byte order, read-only memory, another device) works.
What has no one meaning (a mask, an array without a contract, complex values) is refused; what looks wrong is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.contract import Contract, FusedContract, InputContract
from ssl4eo.contract.doubts import blank_images, tell_doubts
from ssl4eo.errors import ContractMismatch, SampleInvalid
from ssl4eo.sample import Image
from ssl4eo.sensors import MODALITIES


def as_batch(values: object, contract: object, wanted: InputContract) -> tuple[Tensor, InputContract]:
    """Give what the caller handed over as a tensor (B, C, H, W) and its contract.

    Args:
        values: a NumPy array or a tensor.
        contract: what the values mean.
        wanted: by the network, for messages.

    Raises:
        ContractMismatch: no array; no contract; no real numbers; a mask, or memory that is not dense; another number
            of axes.
        SampleInvalid: no image, or one without a pixel.
    """
    if not isinstance(values, np.ndarray | Tensor):
        raise ContractMismatch(
            f"a {type(values).__name__} to embed",
            expected="an Image, a mapping of them by modality, a NumPy array or a tensor (batch, band, y, x)",
            remedy="stack a list with np.stack, turn other kinds of arrays with np.asarray",
        )
    batch = _dense(values) if isinstance(values, Tensor) else _from_numpy(values)
    known = _require_contract(contract, tuple(batch.shape), wanted)
    if batch.ndim != 4:
        remedy = "give one image as values[None]" if batch.ndim == 3 else ""
        raise ContractMismatch(f"an array of shape {tuple(batch.shape)}", expected="(batch, band, y, x)", remedy=remedy)
    if not batch.numel():
        raise SampleInvalid(
            f"an array of shape {tuple(batch.shape)} holds no pixel",
            expected="one image or more, each of one pixel or more",
            remedy="leave empty batches out",
        )
    return batch, known


def require_images(images: Mapping[str, object], wanted: InputContract) -> dict[str, Image | None]:
    """Give the images by modality that a network wants.

    Raises:
        ContractMismatch: other modalities, none at all, or something else than an Image.
    """
    names = [part.modality for part in wanted.parts]
    foreign = [f"{name} is a {type(i).__name__}" for name, i in images.items() if not isinstance(i, Image | None)]
    if foreign:
        raise ContractMismatch(
            f"{', '.join(foreign)}",
            expected=f"an Image of each of {', '.join(names)}",
            remedy="stack arrays along the band axis and say what they mean: contract=FusedContract((..., ...))"
            if len(names) > 1
            else "hand over the array alone, with contract=",
        )
    given = {name: image for name, image in images.items() if isinstance(image, Image)}
    if set(images) != set(names) or not given:
        raise ContractMismatch(
            f"images of {', '.join(given) or 'nothing'}",
            expected=f"an image of each of {', '.join(names)}",
            remedy="give None for a sensor that is absent, where the network was trained with sensor drop",
        )
    return {name: given.get(name) for name in names}


def require_own_contract(contract: object, own: Contract | None) -> Contract | None:
    """Refuse a contract that is told beside images, which know theirs; only `fill` is for the caller to say.

    Args:
        contract: as told.
        own: of the image, None for several.

    Returns:
        That of the image, with the `fill` that was told.

    Raises:
        ContractMismatch: another one is told.
    """
    if contract is None:
        return own
    if own is not None and isinstance(contract, Contract) and replace(contract, fill=own.fill) == own:
        return contract
    raise ContractMismatch(
        f"an Image with the contract {contract}",
        expected="its own" if own is None else f"{own}; no more than its fill may be another",
        remedy="leave the contract out; where the image is wrong about itself, embed its pixels as an array",
    )


def _require_contract(contract: object, shape: tuple[int, ...], wanted: InputContract) -> InputContract:
    if contract is None:
        raise ContractMismatch(
            f"an array of shape {shape} without a contract",
            expected=str(wanted),
            remedy="say what the values mean: embed(array, contract=...), see ssl4eo.contract.stored",
        )
    if isinstance(contract, Contract | FusedContract):
        return contract
    remedy = "make one with ssl4eo.contract.stored"
    if isinstance(contract, str) and contract in MODALITIES:
        remedy = f'say contract=stored("{contract}") for values as stored, see ssl4eo.contract.stored'
    elif isinstance(contract, Mapping):
        remedy = "read it with ssl4eo.contract.contract_from_json"
    raise ContractMismatch(f"a contract of type {type(contract).__name__}", expected="a Contract", remedy=remedy)


def _from_numpy(array: NDArray[np.generic]) -> Tensor:
    """Share the memory of an array where torch can read it, else copy it."""
    if isinstance(array, np.ma.MaskedArray):
        raise ContractMismatch(
            "a masked array",
            expected="an array whose every value means something",
            remedy="fill what has no data with zeros: values.filled(0)",
        )
    if array.dtype.kind not in "uif":
        raise _no_numbers(str(array.dtype))
    plain = np.asarray(array)
    if plain.dtype.itemsize > 8:  # long double
        plain = plain.astype(np.float64)
    size = plain.dtype.itemsize
    is_readable = plain.dtype.isnative and all(step >= 0 and step % size == 0 for step in plain.strides)
    if not is_readable or not plain.flags.writeable:  # torch warns of memory that is read-only
        plain = np.array(plain, dtype=plain.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(plain)


def _dense(tensor: Tensor) -> Tensor:
    """Give the values of a tensor, refusing one that has none or has them elsewhere."""
    if tensor.is_meta:
        raise ContractMismatch("a tensor on the meta device", expected="values", remedy="embed what holds memory")
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        remedy = "pad it: .to_padded_tensor(0)" if tensor.is_nested else "make it dense: .to_dense()"
        raise ContractMismatch(f"a tensor of layout {kind}", expected="one that is dense", remedy=remedy)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise _no_numbers(str(tensor.dtype).removeprefix("torch."))
    return tensor.detach()


def _no_numbers(kind: str) -> ContractMismatch:
    remedy = "give its amplitude or decibels" if kind.startswith("complex") else "give values as stored, as numbers"
    return ContractMismatch(f"an array of {kind}", expected="real numbers", remedy=remedy)


def require_finite(values: Tensor) -> None:
    """Refuse images (B, ...) with values that are not finite in float32: a later clip would hide infinity.

    Raises:
        SampleInvalid: names the images by their number.
    """
    if not values.is_floating_point():
        return
    broken = (~torch.isfinite(values.float()).flatten(1).all(dim=1)).nonzero()[:, 0].tolist()
    if broken:
        raise SampleInvalid(
            f"image {', '.join(map(str, broken[:5]))}{' ...' * (len(broken) > 5)} of {len(values)} has values that are "
            "not finite",
            expected="numbers",
            remedy="leave it out, or fill what has no data with zeros",
        )


def tell_batch(values: Tensor, contract: InputContract, *, more: Mapping[str, str] | None = None) -> None:
    """Warn of values (B, C, H, W) that do not look like what their contract says, and of images without content.

    Args:
        values: with another number of bands they are refused elsewhere.
        contract: what they are told to be.
        more: doubts that the caller has, sentence by kind.
    """
    if values.shape[1] != contract.num_bands:
        return
    rows, blank = _figures(values.float().flatten(2))
    start = 0
    for part in contract.parts:
        own = slice(start, start + part.num_bands)
        start = own.stop
        is_absent = blank[own].all(dim=0)  # (B,)
        if part.scaling != "none" and not part.is_quantized:
            # Of stacked sensors one that is absent is zero after scaling, as sensor drop trains it.
            is_absent &= blank.all(dim=0)
            if blank[own].all() and not is_absent.all():
                continue
        numbers = is_absent.nonzero()[:, 0].tolist()
        found = {"empty": blank_images(numbers, len(is_absent))} if numbers else {}
        tell_doubts(part, *(row[own] for row in rows), more={**found, **(more or {})})


def _figures(bands: Tensor) -> tuple[list[list[float]], Tensor]:
    """Give least, largest and mean of each band of (B, C, N), zeros apart, and which are all zeros (C, B)."""
    low, high = bands.aminmax(dim=2)  # (B, C)
    blank = (low == 0) & (high == 0)
    total, seen = bands.sum(dim=2).sum(dim=0, dtype=torch.float64), bands.shape[0] * bands.shape[2]
    if ((low <= 0) & (high >= 0)).any():  # seldom in digital numbers: spared, since it takes as long as all the rest
        no_data = bands == 0
        low = bands.masked_fill(no_data, torch.inf).amin(dim=2)
        seen = (~no_data).sum(dim=(0, 2)).clamp(min=1)
    least, largest = low.amin(dim=0), high.amax(dim=0)
    least = torch.where(least.isinf(), largest, least)
    return torch.stack([least.double(), largest.double(), total / seen]).tolist(), blank.T.cpu()
