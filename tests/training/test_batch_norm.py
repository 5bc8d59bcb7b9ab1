# SPDX-License-Identifier: Apache-2.0
"""Batch norm over several processes against torch's over the whole batch, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl4eo.training import batch_norm
from ssl4eo.training.batch_norm import GlobalBatchNorm, with_global_batch_norm

SHAPES = [(6, 3), (6, 3, 4, 5)]


def values(shape, seed=0):
    """Draw a batch far from mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 50


def pair(shape, **options):
    """Make torch's batch norm and ours with the same parameters."""
    norm = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3, **options).double()
    if norm.affine:
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    other = with_global_batch_norm(nn.Sequential(norm), on_gpu=False)[0]
    copied = type(norm)(3, **options).double()
    copied.load_state_dict(norm.state_dict())
    return copied, other


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}])
def test_one_process_equals_batch_norm_of_torch(shape, options):
    """Output, gradients, running statistics and evaluation mode, to 1e-10."""
    torch_norm, ours = pair(shape, **options)
    first, second = values(shape).requires_grad_(), values(shape).requires_grad_()
    slope = values(shape, seed=1)

    outputs = torch_norm(first), ours(second)
    for output in outputs:
        (output * slope).sum().backward()

    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(second.grad, first.grad, rtol=1e-8, atol=1e-10)
    for a, b in zip(ours.parameters(), torch_norm.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10)
    assert ours.state_dict().keys() == torch_norm.state_dict().keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, torch_norm.state_dict()[name], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.eval()(second), torch_norm.eval()(first), rtol=1e-10, atol=1e-10)


class Exchange:
    """Plays two processes one after the other: what the other sent is known from the run before."""

    def __init__(self, monkeypatch):
        """Put itself in place of the exchange."""
        self.heard = {0: None, 1: None}
        self.sums = {0: None, 1: None}
        self.rank = 0
        monkeypatch.setattr(batch_norm, "gather_rows", self.gather)
        monkeypatch.setattr(batch_norm, "sum_over_processes", self.add)
        monkeypatch.setattr(batch_norm, "num_processes", lambda: 2)

    def gather(self, rows):
        """Stack the rows of both."""
        self.heard[self.rank] = rows
        return torch.cat([rows if v is None else v for v in self.heard.values()])

    def add(self, rows):
        """Add the rows of both."""
        self.sums[self.rank] = rows
        return sum(rows if v is None else v for v in self.sums.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_two_processes_equal_one_with_the_whole_batch(shape, monkeypatch):
    """Outputs, input gradients, running statistics, and the summed gradients of weight and bias, to 1e-10."""
    expected, _ = pair(shape)
    whole, slope = values(shape).requires_grad_(), values(shape, seed=1)
    output = expected(whole)
    (output * slope).sum().backward()
    exchange = Exchange(monkeypatch)

    for _ in range(3):  # statistics are known after the first round, sums of gradients after the second
        halves, norms, results = [], [], []
        for rank in (0, 1):
            exchange.rank = rank
            norm = GlobalBatchNorm(3).double()
            norm.load_state_dict({**expected.state_dict(), **GlobalBatchNorm(3).double().state_dict()})
            norm.weight.data, norm.bias.data = expected.weight.data.clone(), expected.bias.data.clone()
            half = values(shape)[3 * rank : 3 * rank + 3].requires_grad_()
            result = norm(half)
            (result * slope[3 * rank : 3 * rank + 3]).sum().backward()
            halves.append(half.grad)
            norms.append(norm)
            results.append(result)

    close = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(torch.cat(results), output, **close)
    torch.testing.assert_close(torch.cat(halves), whole.grad, **close)
    torch.testing.assert_close(norms[0].weight.grad + norms[1].weight.grad, expected.weight.grad, **close)
    torch.testing.assert_close(norms[0].bias.grad + norms[1].bias.grad, expected.bias.grad, **close)
    for norm in norms:
        torch.testing.assert_close(norm.running_mean, expected.running_mean, **close)
        torch.testing.assert_close(norm.running_var, expected.running_var, **close)


def test_replacing_keeps_parameters_names_and_mode():
    """The very same parameters under the same names: an optimizer and a checkpoint do not notice."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3)), nn.BatchNorm2d(3)).eval()
    before = dict(module.named_parameters())
    keys = list(module.state_dict())

    with_global_batch_norm(module, on_gpu=False)

    assert list(module.state_dict()) == keys
    assert all(before[name] is parameter for name, parameter in module.named_parameters())
    assert isinstance(module[1][0], GlobalBatchNorm)
    assert not module[1][0].training


def test_half_precision_values_get_float32_statistics():
    """bf16 values keep their type; a mean of 1000 with deviations of 8 is not lost."""
    norm = GlobalBatchNorm(1)

    output = norm(torch.tensor([[992.0], [1008.0]], dtype=torch.bfloat16))

    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), torch.tensor([[-1.0], [1.0]]), rtol=1e-2, atol=1e-2)


def test_on_a_gpu_it_is_the_one_of_torch():
    """SyncBatchNorm takes the place, with the same parameters."""
    module = nn.Sequential(nn.BatchNorm2d(3))
    weight = module[0].weight

    replaced = with_global_batch_norm(module, on_gpu=True)

    assert isinstance(replaced[0], nn.SyncBatchNorm)
    assert replaced[0].weight is weight
