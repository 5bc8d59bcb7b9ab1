# SPDX-License-Identifier: Apache-2.0
"""MoCo v2 as TorchGeo's MoCoTask and lightly's parts do it, driven one batch at a time, for the bench_peers scripts.

Both are used through their public API, with the values that their documentation gives, or with ours if asked for.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn


class TorchGeoMoCo:
    """`torchgeo.trainers.MoCoTask`, version 2: augmentations, step and optimizer are its own."""

    def __init__(self, *, arch, bands, size, batch, ours=False, channels_last=False, augment=True):
        from torchgeo.trainers import MoCoTask

        # The values of its docstring for version 2, or a queue, temperature and momentum like those of our tiny recipe.
        values = (
            {"temperature": 0.1, "memory_bank_size": 1024, "moco_momentum": 0.99}
            if ours
            else {"temperature": 0.07, "memory_bank_size": 65_536, "moco_momentum": 0.999}
        )
        plain = {} if augment else {"augmentation1": nn.Identity(), "augmentation2": nn.Identity()}
        self.task = MoCoTask(
            model=arch,
            in_channels=bands,
            version=2,
            layers=2,
            hidden_dim=2048,
            output_dim=128,
            lr=0.03 * batch / 256,
            weight_decay=1e-4,
            size=size,
            **values,
            **plain,
        )
        self.task.train()
        if channels_last:
            self.task.to(memory_format=torch.channels_last)
        if ours:
            parameters = [p for p in self.task.parameters() if p.requires_grad]
            self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4)
        else:
            self.optimizer = self.task.configure_optimizers()["optimizer"]
        self.backbone = self.task.backbone

    def step(self, images):
        """Do a step on images (B, C, H, W) in 0..1, or on both views stacked along the bands."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it logs to a trainer that is not there
            loss = self.task.training_step({"image": images}, 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


class LightlyMoCo(nn.Module):
    """lightly's heads, loss and moving average, put together as its MoCo v2 example does."""

    def __init__(self, backbone, width, *, ours=False, bank=4096):
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        self.backbone = backbone
        self.head = MoCoProjectionHead(width, width, 128)
        self.backbone_momentum, self.head_momentum = copy.deepcopy(backbone), copy.deepcopy(self.head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.head_momentum)
        if ours:
            self.criterion = NTXentLoss(temperature=0.1, memory_bank_size=(1024, 128))
        else:
            self.criterion = NTXentLoss(memory_bank_size=(bank, 128))
        parameters = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = (
            torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4) if ours else torch.optim.SGD(parameters, lr=0.06)
        )

    def step(self, first, second, momentum):
        """Do a step on two views (B, C, H, W)."""
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        update_momentum(self.head, self.head_momentum, m=momentum)
        query = self.head(self.backbone(first).flatten(start_dim=1))
        with torch.no_grad():
            key = self.head_momentum(self.backbone_momentum(second).flatten(start_dim=1)).detach()
        loss = self.criterion(query, key)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss
