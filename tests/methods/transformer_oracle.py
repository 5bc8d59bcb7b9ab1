# SPDX-License-Identifier: Apache-2.0
"""A vision transformer in NumPy, float64, one image at a time, loops where loops are clearest: an oracle for tests."""

from __future__ import annotations

import numpy as np
from scipy.special import erf


def to_numpy(module):
    """Give all tensors of a module by name."""
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def plain_norm(x, epsilon):
    """Layer norm without weights over the last axis."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def norm(x, weights, name):
    """Layer norm."""
    return plain_norm(x, 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def affine(x, weights, name):
    """Linear layer."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attend(x, weights, name, heads, offset=None):
    """Self-attention of (N, D); `offset` (heads, N, N) is added to the logits."""
    if f"{name}.q_bias" in weights:  # BEiT: no bias of keys
        q_bias, v_bias = weights[f"{name}.q_bias"], weights[f"{name}.v_bias"]
        mixed = x @ weights[f"{name}.qkv.weight"].T + np.concatenate([q_bias, 0 * q_bias, v_bias])
    else:
        mixed = affine(x, weights, f"{name}.qkv")
    parts = mixed.reshape(len(x), 3, heads, -1)
    out = []
    for head in range(heads):
        q, k, v = (parts[:, i, head] for i in range(3))
        scores = np.exp(q @ k.T / np.sqrt(q.shape[1]) + (0 if offset is None else offset[head]))
        out.append(scores / scores.sum(1, keepdims=True) @ v)
    return affine(np.concatenate(out, axis=1), weights, f"{name}.proj")


def run_block(x, weights, name, heads, offset=None):
    """Pass (N, D) through a pre-norm block, its branches scaled where it has factors."""
    first, second = (weights.get(f"{name}.gamma_{i}", 1.0) for i in (1, 2))
    x = x + first * attend(norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn", heads, offset)
    hidden = affine(norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    return x + second * affine(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, weights, f"{name}.mlp.fc2")


def cut(image, patch):
    """Cut (C, H, W) into patches (C, p, p), row by row."""
    rows, columns = (range(0, size, patch) for size in image.shape[1:])
    return [image[:, r : r + patch, c : c + patch] for r in rows for c in columns]


def embed(patch, weights, name):
    """Turn a patch (C, p, p) into a token (D,)."""
    kernel = weights[f"{name}.patch_embed.proj.weight"]
    return (kernel * patch).sum(axis=(1, 2, 3)) + weights[f"{name}.patch_embed.proj.bias"]


def fixed_position(dim, row, column, *, columns_first=True):
    """Sine-cosine embedding of one patch, value by value."""
    rates = [10000 ** (-i / (dim / 4)) for i in range(dim // 4)]
    axes = (column, row) if columns_first else (row, column)
    return np.concatenate([[f(axis * rate) for rate in rates] for axis in axes for f in (np.sin, np.cos)])


def relative_offsets(table, grid):
    """Bias (heads, 1 + L, 1 + L) of BEiT from its table: the last three rows are for the class token."""
    num = grid * grid
    out = np.zeros((table.shape[1], num + 1, num + 1))
    for i in range(num):
        for j in range(num):
            rows, columns = i // grid - j // grid + grid - 1, i % grid - j % grid + grid - 1
            out[:, 1 + i, 1 + j] = table[rows * (2 * grid - 1) + columns]
    out[:, 0, 1:] = table[-3][:, None]
    out[:, 1:, 0] = table[-2][:, None]
    out[:, 0, 0] = table[-1]
    return out
