# SPDX-License-Identifier: Apache-2.0
"""Files with the key names, nesting, prefixes and shapes of the published checkpoints, made by other code than ours.

Encoders are built with torchvision and timm by name and have random values; what lies beside them is a zero that is
expanded to the published shape, so that files stay small. Nothing here imports ssl4eo.
"""

from __future__ import annotations

import argparse
import copy
import functools

import timm
import torch
import torchvision
from timm.models.beit import Beit
from torch import nn

TIMM = {
    "vit_small_16": "vit_small_patch16_224",
    "vit_base_16": "vit_base_patch16_224",
    "vit_large_16": "vit_large_patch16_224",
    "vit_huge_14": "vit_huge_patch14_224",
}
WIDTH = {"vit_small_16": 384, "vit_base_16": 768, "vit_large_16": 1024, "vit_huge_14": 1280}


def encoder(arch: str, bands: int, *, seed: int = 0) -> nn.Module:
    """Build a network by torchvision or timm."""
    net = copy.deepcopy(_drawn(arch, bands, seed, torch.get_default_device()))
    torch.manual_seed(seed)
    return net


@functools.lru_cache(maxsize=3)
def _drawn(arch: str, bands: int, seed: int, device: torch.device) -> nn.Module:
    """Draw a network, not to be changed: copies cost a tenth of it. The device is that of the caller's context."""
    torch.manual_seed(seed)
    if arch.startswith("resnet"):
        net = getattr(torchvision.models, arch)(weights=None)
        net.conv1 = nn.Conv2d(bands, 64, 7, 2, 3, bias=False)
        net.fc = nn.Identity()
        return net
    return timm.create_model(TIMM[arch], in_chans=bands, num_classes=0)


def beit(bands: int, *, seed: int = 0, size: int = 224) -> Beit:
    """Build the network of data2vec."""
    torch.manual_seed(seed)
    return Beit(
        img_size=size,
        patch_size=16,
        in_chans=bands,
        embed_dim=384,
        depth=12,
        num_heads=6,
        init_values=1e-4,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        global_pool="avg",
        num_classes=0,
    )


def blank(*shape: int) -> torch.Tensor:
    """Make a tensor of a shape that takes four bytes on disk."""
    return torch.zeros(1).expand(shape) if shape else torch.tensor(0)


def rows(prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Make blank tensors under a prefix."""
    return {prefix + name: blank(*shape) for name, shape in shapes.items()}


def norm(name: str, width: int, *, affine: bool = True) -> dict[str, tuple[int, ...]]:
    """List the tensors of a batch norm."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (width,), f"{name}.bias": (width,)} if affine else {}
    return shapes | {
        f"{name}.running_mean": (width,),
        f"{name}.running_var": (width,),
        f"{name}.num_batches_tracked": (),
    }


def put(prefix: str, net: nn.Module) -> dict[str, torch.Tensor]:
    """Give a network's tensors under a prefix."""
    return {prefix + name: value for name, value in net.state_dict().items()}


def moco_v2(net: nn.Module, width: int) -> dict[str, object]:
    """Nest an encoder as main_moco.py saves it."""
    head = {"fc.0.weight": (width, width), "fc.0.bias": (width,), "fc.2.weight": (128, width), "fc.2.bias": (128,)}
    keys = {name: blank(*value.shape) for name, value in put("module.encoder_k.", net).items()}
    queue = {"module.queue": blank(128, 65536), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    state = put("module.encoder_q.", net) | rows("module.encoder_q.", head) | keys | rows("module.encoder_k.", head)
    return {"epoch": 100, "arch": "resnet", "state_dict": state | queue, "optimizer": {"state": {}, "param_groups": []}}


def moco_v3(net: nn.Module, width: int = 384) -> dict[str, object]:
    """Nest an encoder as the MoCo v3 script saves it."""
    head = {"head.0.weight": (4096, width), **norm("head.1", 4096), "head.3.weight": (4096, 4096)}
    head |= {**norm("head.4", 4096), "head.6.weight": (256, 4096), **norm("head.7", 256, affine=False)}
    predictor = {"0.weight": (4096, 256), **norm("1", 4096), "3.weight": (256, 4096), **norm("4", 256, affine=False)}
    keys = {name: blank(*value.shape) for name, value in put("module.momentum_encoder.", net).items()}
    state = put("module.base_encoder.", net) | rows("module.base_encoder.", head) | keys
    state |= rows("module.momentum_encoder.", head) | rows("module.predictor.", predictor)
    return {"epoch": 100, "arch": "vit_small", "state_dict": state, "optimizer": {}, "scaler": {"scale": 65536.0}}


def dino(net: nn.Module, width: int, *, parallel: bool) -> dict[str, object]:
    """Nest an encoder as the DINO script saves it; the ResNet's teacher is wrapped, the transformer's is not."""
    mlp = {"mlp.0": (2048, width), "mlp.2": (2048, 2048), "mlp.4": (256, 2048)}
    head = {f"{name}.weight": shape for name, shape in mlp.items()} | {f"{n}.bias": s[:1] for n, s in mlp.items()}
    head |= {"last_layer.weight_g": (65536, 1), "last_layer.weight_v": (65536, 256)}
    wrapped = "module." if parallel else ""
    teacher = put(f"{wrapped}backbone.", net) | rows(f"{wrapped}head.", head)
    student = {f"module.{name.removeprefix('module.')}": blank(*value.shape) for name, value in teacher.items()}
    args = argparse.Namespace(arch="vit_small", out_dim=65536, lr=1.5e-4)
    loss = {"center": blank(1, 65536)}
    return {"student": student, "teacher": teacher, "epoch": 100, "args": args, "dino_loss": loss, "optimizer": {}}


def mae(net: nn.Module, width: int, bands: int, patch: int, num_patches: int) -> dict[str, object]:
    """Nest an encoder as the MAE script saves it."""
    shapes: dict[str, tuple[int, ...]] = {
        "mask_token": (1, 1, 512),
        "decoder_embed.weight": (512, width),
        "decoder_embed.bias": (512,),
        "decoder_pos_embed": (1, num_patches + 1, 512),
        "decoder_norm.weight": (512,),
        "decoder_norm.bias": (512,),
        "decoder_pred.weight": (patch * patch * bands, 512),
        "decoder_pred.bias": (patch * patch * bands,),
    }
    block = {"norm1": (512,), "attn.qkv": (1536, 512), "attn.proj": (512, 512), "norm2": (512,)}
    block |= {"mlp.fc1": (2048, 512), "mlp.fc2": (512, 2048)}
    for number in range(8):
        for name, shape in block.items():
            shapes[f"decoder_blocks.{number}.{name}.weight"] = shape
            shapes[f"decoder_blocks.{number}.{name}.bias"] = shape[:1]
    args = argparse.Namespace(model="mae_vit", mask_ratio=0.7)
    return {"model": put("", net) | rows("", shapes), "optimizer": {}, "epoch": 99, "scaler": {}, "args": args}


def data2vec(net: Beit) -> dict[str, object]:
    """Nest an encoder as the data2vec script saves it."""
    state = {name: value for name, value in net.state_dict().items() if not name.startswith(("fc_norm.", "head."))}
    index = net.rel_pos_bias.relative_position_index
    more = {"mask_token": (1, 1, 384), "norm.weight": (384,), "norm.bias": (384,)}
    more |= {"lm_head.weight": (384, 384), "lm_head.bias": (384,)}
    state |= rows("", more) | {"rel_pos_bias.relative_position_index": index}
    average = {name: blank(*value.shape) for name, value in state.items()}
    args = argparse.Namespace(model="beit_small", target_layers="[6,7]")
    return {"model": state, "model_ema": average, "optimizer": {}, "epoch": 99, "scaler": {}, "args": args}


def torchgeo(net: nn.Module, width: int, *, momentum: bool) -> dict[str, object]:
    """Nest an encoder as Lightning saves TorchGeo's MoCoTask or SimCLRTask."""
    head = {"layers.0.weight": (width, width), **norm("layers.1", width), "layers.3.weight": (128, width)}
    state = put("backbone.", net) | rows("projection_head.", head)
    state |= {"augmentations.RandomBrightness_3._param_generator.brightness": torch.tensor([0.6, 1.4])}
    if momentum:
        keys = {name: blank(*value.shape) for name, value in put("backbone_momentum.", net).items()}
        state |= keys | rows("projection_head_momentum.", head) | rows("prediction_head.", head)
    hyper = {"model": "resnet18", "in_channels": 13, "schedule": [120, 160], "gather_distributed": False}
    return {"epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.6.6", "state_dict": state, "loops": {}} | {
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": hyper,
    }
