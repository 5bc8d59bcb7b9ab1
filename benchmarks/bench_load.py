# SPDX-License-Identifier: Apache-2.0
"""How long does it take to load a ResNet-50 backbone from a file, beside torch alone?

    python benchmarks/bench_load.py [--rounds 15]

Files with the keys and shapes of the published MoCo v2 checkpoint and random values, in a temporary folder, so in the
file cache: `backbone`, an encoder alone, and `full`, both encoders, heads, queue and the optimizer's momentum.
torch: `torch.load(path, weights_only=True)` and `load_state_dict(strict=True)` into a network that was built before (of
`full` the encoder's keys, prefixes removed); and the same with the building of it by torchvision. Ours:
`load_backbone(path)`, which recognizes the file, accounts for it key by key, builds the network, and looks for values
that are not finite. All in one process, in turn; medians. Also the seconds of
`ssl4eo checkpoints list` as a command, from start to end.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from torch import nn

from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.environment import environment

PREFIX = "module.encoder_q."


def network():
    net = torchvision.models.resnet50(weights=None)
    net.conv1, net.fc = nn.Conv2d(13, 64, 7, 2, 3, bias=False), nn.Identity()
    return net


def write_files(folder):
    net = network()
    torch.save(net.state_dict(), folder / "backbone.pth")
    head = {"fc.0.weight": (2048, 2048), "fc.0.bias": (2048,), "fc.2.weight": (128, 2048), "fc.2.bias": (128,)}
    state = {
        f"module.{part}.{k}": v.clone() for part in ("encoder_q", "encoder_k") for k, v in net.state_dict().items()
    }
    state |= {f"module.{p}.{k}": torch.randn(s) for p in ("encoder_q", "encoder_k") for k, s in head.items()}
    state |= {"module.queue": torch.randn(128, 65_536), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    momentum = {n: {"momentum_buffer": torch.randn_like(p)} for n, p in enumerate(net.parameters())}
    optimizer = {"state": momentum, "param_groups": [{"lr": 0.03, "params": list(momentum)}]}
    torch.save({"epoch": 100, "arch": "resnet50", "state_dict": state, "optimizer": optimizer}, folder / "full.pth")


def torch_alone(path, net):
    content = torch.load(path, map_location="cpu", weights_only=True)
    if "state_dict" in content:
        rows = content["state_dict"].items()
        content = {k.removeprefix(PREFIX): v for k, v in rows if k.startswith(PREFIX) and ".fc." not in k}
    net.load_state_dict(content, strict=True)


def seconds(action):
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    logging.getLogger("ssl4eo").setLevel(logging.ERROR)
    print("| file | torch [ms] | and building [ms] | ours [ms] | ours / torch | ours / torch and building |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        net = network()
        for name in ("backbone", "full"):
            path = Path(folder) / f"{name}.pth"
            actions = (
                lambda p=path: torch_alone(p, net),
                lambda p=path: torch_alone(p, network()),
                lambda p=path: load_backbone(p),
            )
            rows = [[seconds(action) for action in actions] for _ in range(args.rounds + 1)][1:]
            alone, built, ours = (1000 * statistics.median(column) for column in zip(*rows, strict=True))
            size = f"{path.stat().st_size / 1e6:.0f} MB"
            ratios = f"{ours / alone:.2f} | {ours / built:.2f}"
            print(f"| {name}, {size} | {alone:.0f} | {built:.0f} | {ours:.0f} | {ratios} |")
    command = [sys.executable, "-m", "ssl4eo.cli", "checkpoints", "list"]
    runs = [seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)) for _ in range(args.rounds)]
    print(f"\nssl4eo checkpoints list: {statistics.median(runs):.2f} s (least {min(runs):.2f}, most {max(runs):.2f})")
    print(json.dumps({"arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
