# SPDX-License-Identifier: Apache-2.0
"""What do DINO's ten crops cost beside the plain forward passes of the same crops, one after the other?

    python benchmarks/bench_dino_crops.py [--backbone vit_small_16] [--batch 4] [--large 224] [--small 96] [--rounds 5]

One process, all forms in turn, in float32 with gradients recorded as in training, the same random 13-band crops:

* plain: the student's backbone, called once for each of the ten crops; the sum is the reference.
* crops: the same backbone as the method calls it, once for each size.
* student: crops, then head and loss (65,536 outputs as published, fewer with --out-dim); targets made before.
* method: student and the teacher on the two global crops, the whole forward of a step.

Prints seconds (median), ratios to plain, and the ratio of method to plain plus the teacher's two plain passes.
The floor is crops / plain <= 1.15. It does not measure a backward pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.environment import environment
from ssl4eo.methods.dino import NUM_GLOBAL, DINOConfig, cross_entropy_of_pairs, encode_crops
from ssl4eo.methods.method import Moment

NOW = Moment(step=0, num_steps=100, steps_per_epoch=10)


def build(args):
    config = DINOConfig(args.out_dim, momentum=0.996, teacher_temperature=0.04, freeze_last_layer=1.0, drop_path=0.1)
    backbone = Backbone(
        args.backbone,
        network_input("S2L1C"),
        image_size=args.large,
        seed=0,
        options=config.backbone_options(args.backbone),
    )
    return config.build(backbone, seed=0).to(memory_format=torch.channels_last).train()


def random_crops(args):
    generator = torch.Generator().manual_seed(0)
    sizes = (args.large, args.large, *[args.small] * args.num_local)
    shapes = [(args.batch, 13, size, size) for size in sizes]
    return tuple(torch.rand(s, generator=generator).contiguous(memory_format=torch.channels_last) for s in shapes)


def forms(model, crops):
    """Name what is timed."""
    with torch.no_grad():
        targets = model._teach(crops[:NUM_GLOBAL], NOW)

    def student():
        outputs = model.student_head(encode_crops(model.student, crops)).float()
        logits = outputs.unflatten(0, (len(crops), -1)) / model.config.student_temperature
        return cross_entropy_of_pairs(logits, targets)

    def plain_teacher():
        with torch.no_grad():
            return [model.backbone(crop) for crop in crops[:NUM_GLOBAL]]

    return {
        "plain": lambda: [model.student(crop) for crop in crops],
        "crops": lambda: encode_crops(model.student, crops),
        "student": student,
        "plain teacher": plain_teacher,
        "method": lambda: model(crops, None, NOW),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_small_16")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--large", type=int, default=224, help="side of the two global crops [px]")
    parser.add_argument("--small", type=int, default=96, help="side of the local crops [px]")
    parser.add_argument("--num-local", type=int, default=8)
    parser.add_argument("--out-dim", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model, crops = build(args), random_crops(args)
    runs = forms(model, crops)
    seconds = {name: [] for name in runs}
    for number in range(args.rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = {
        "crops / plain": median["crops"] / median["plain"],
        "student / plain": median["student"] / median["plain"],
        "method / (plain + plain teacher)": median["method"] / (median["plain"] + median["plain teacher"]),
    }
    for name, value in median.items():
        print(f"{name:<34} {value:7.3f} s")
    for name, value in ratio.items():
        print(f"{name:<34} {value:7.2f}")
    print(json.dumps({"seconds": median, "ratios": ratio, "arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
