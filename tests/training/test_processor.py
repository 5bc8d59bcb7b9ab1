# SPDX-License-Identifier: Apache-2.0
"""Networks in the form that a processor computes fastest."""

from __future__ import annotations

import pytest
import torch

from ssl4eo.backbones.architectures import BackboneOptions, build_network
from ssl4eo.training import processor

CPU = torch.device("cpu")
RELATIVE = BackboneOptions(pooling="mean_norm", position="relative", init="beit", layer_scale=1e-4)


def network(options=None):
    torch.manual_seed(0)
    return build_network("vit_nano_8", num_bands=3, image_size=48, options=options or BackboneOptions()).eval()


def fused(net):
    return {part.fused_attn for part in net.modules() if hasattr(part, "fused_attn")}


@pytest.mark.parametrize("options", [BackboneOptions(), RELATIVE], ids=["vit", "beit"])
def test_the_products_give_what_the_fused_kernel_gives(options, monkeypatch):
    monkeypatch.setattr(processor, "_multiplies_tiles", lambda: False)
    net, images = network(options), torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net.forward_features(images)
        processor.fit_to_processor(net, channels_last=False, precision="bf16-mixed", device=CPU)
        assert fused(net) == {False}
        torch.testing.assert_close(net.forward_features(images), expected, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net.forward_features(images).float()
    assert (rounded - expected).norm() <= 0.02 * expected.norm()


@pytest.mark.parametrize(
    ("precision", "device", "tiles"),
    [("32-true", CPU, False), ("bf16-mixed", CPU, True), ("bf16-mixed", torch.device("cuda"), False)],
)
def test_the_fused_kernel_stays_where_it_is_fast(precision, device, tiles, monkeypatch):
    monkeypatch.setattr(processor, "_multiplies_tiles", lambda: tiles)
    net = network()
    processor.fit_to_processor(net, channels_last=False, precision=precision, device=device)
    assert fused(net) == {True}


def test_kernels_are_laid_out_pixel_by_pixel_where_asked():
    for wanted in (True, False):
        net = network()
        processor.fit_to_processor(net, channels_last=wanted, precision="32-true", device=CPU)
        kernel = net.patch_embed.proj.weight
        assert kernel.is_contiguous(memory_format=torch.channels_last) == wanted
