# SPDX-License-Identifier: Apache-2.0
"""The estimates of docs/cost.md: python benchmarks/estimate_cost.py [LOCATIONS].

Arithmetic only, from figures that were measured (files of benchmarks/results) or published; nothing is measured here.
Each row says by which formula, so that it can be done again with other numbers.
"""

from __future__ import annotations

import sys

from ssl4eo.form import Form

PUBLISHED = 251_079
"""Locations of SSL4EO-S12 v1."""
SEASONS, PATCH = 4, 264
STORED = {"S2L1C": 0.75, "S2L2A": 0.75, "S1GRD": 0.735}
"""Archive against raw pixels: `ssl4eo collect --plan` and benchmarks/results/codecs.md, profile default."""
ROUNDED = 0.329
"""S1 rounded to 1/64 dB (codecs.md)."""
REQUESTS, REFUSALS = 4, 0.3
"""Of Earth Engine a place of three products and four seasons (docs/collect.md); tried in vain, assumed."""
LATENCY, THREADS, BANDWIDTH = 0.5, 40, 50e6
"""[s], at a time, [bytes a second]: assumed."""
EPOCHS, HOURS_BOUND, GPUS = 100, 24, 4
"""Of the published runs of ViT-S and ResNet-50: at most so many hours on so many A100."""
STEP = {"moco_v2.resnet50.s2l1c": 7.24, "moco_v3.vit_small_16.s2l1c": 3.20, "mae.vit_small_16.s2l1c": 6.07}
"""Images a second of a step on 2 cores (benchmarks/results/step.md, bf16, 2026-11-27)."""
VIEWS = 178.6
"""Samples a second and core, two crops of 13 bands on the worker (benchmarks/results/views.md)."""


def image_bytes(modality: str) -> int:
    """Count the raw bytes of one image of 2640 m."""
    form = Form.native(modality)
    item = 4 if form.dtype == "float32" else 2
    return sum(len(bands) * (PATCH * 10 // resolution) ** 2 * item for resolution, bands in form.groups)


def rows(count: int = PUBLISHED) -> list[str]:
    """Give the lines of the table."""
    raw = {name: count * SEASONS * image_bytes(name) for name in STORED}
    kept = {name: size * STORED[name] for name, size in raw.items()}
    requests = count * REQUESTS * (1 + REFUSALS)
    traffic = sum(raw.values()) * (1 + REFUSALS)
    needed = EPOCHS * count / (HOURS_BOUND * 3600)
    lines = [("what", "estimate", "formula")]
    lines += [
        (f"disk, {name}", f"{kept[name] / 1e9:,.0f} GB", f"{image_bytes(name):,} B x 4 seasons x {share:g}")
        for name, share in STORED.items()
    ]
    lines += [
        ("disk, S1GRD rounded to 1/64 dB", f"{raw['S1GRD'] * ROUNDED / 1e9:,.0f} GB", f"the same x {ROUNDED:g}"),
        ("network, Earth Engine, all three", f"{traffic / 1e12:.1f} TB", "raw bytes x 1.3"),
        ("requests, Earth Engine", f"{requests / 1e6:.1f} million", f"{REQUESTS} a place x 1.3"),
        (
            "hours of collecting",
            f"{max(requests * LATENCY / THREADS, traffic / BANDWIDTH) / 3600:,.0f}",
            "the larger of requests x 0.5 s / 40 at a time (its limit) and traffic / 50 MB/s",
        ),
        ("GPU hours a run, ViT-S or ResNet-50", f"at most {HOURS_BOUND * GPUS}", "24 h x 4 A100, published bound"),
        ("samples a second in such a run", f"at least {needed:,.0f}", "100 epochs x locations / 24 h"),
        ("cores that make its two views", f"{needed / VIEWS:.1f}", f"that / {VIEWS:g} samples a second and core"),
    ]
    lines += [
        (
            f"days on 2 CPU cores, `{name}`",
            f"{EPOCHS * count / rate / 86400:,.0f}",
            f"100 x locations / {rate:g} a second",
        )
        for name, rate in STEP.items()
    ]
    table = [f"| {' | '.join(line)} |" for line in lines]
    return [table[0], "|---|---|---|", *table[1:]]


if __name__ == "__main__":
    print("\n".join(rows(int(sys.argv[1]) if len(sys.argv) > 1 else PUBLISHED)))
