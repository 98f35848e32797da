"""Float operations in C compute what torch computes: modules elementwise, shapes and reductions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.exports.c import write_c
from autoquant.exports.c.compiled import compiled
from tests.exports.c.exported import floats_of

Operation = Callable[[Tensor], Any]
INDICES = torch.tensor([0, -1, 2])
ELEMENTWISE: dict[str, Operation] = {
    "abs neg sign": lambda x: x.abs() - (-x) * x.sign(),
    "exp log log1p": lambda x: x.exp().log() + x.abs().log1p() + x.expm1(),
    "roots": lambda x: (x * x + 1).sqrt() + (x * x + 1).rsqrt() + (x + 9).reciprocal(),
    "powers": lambda x: x.pow(2) + x.abs().pow(0.5) + (x.abs() + 1).pow(-1.5) + 2**x,
    "rounded": lambda x: (x * 7).round() + x.floor() - x.ceil() + x.trunc(),
    "sine": lambda x: x.sin() * x.cos() + x.erf(),
    "sigmoid tanh": lambda x: x.sigmoid() * (3 * x).tanh(),
    "relu": lambda x: F.relu(x) + F.relu6(4 * x) + F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 0.3) + F.selu(x) + F.softplus(30 * x),
    "gelu": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh"),
    "silu": lambda x: F.silu(x) + F.mish(x) + F.hardswish(4 * x) + F.hardsigmoid(4 * x),
    "clamp": lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0) + x.clamp(max=0.1) + F.hardtanh(2 * x),
    "sums": lambda x: torch.add(x, x[0], alpha=3) - x / 3 + (2 - x) * x - 1 / (x + 9),
    "largest": lambda x: torch.maximum(x, -x) + torch.minimum(x, x.mean(1, keepdim=True)),
    "tests": lambda x: (((x > 0.2) & (x <= 0.7)) | ~(x != x[0])).float(),
    "where": lambda x: torch.where(x > 0.5, x, torch.zeros(6)) + x.masked_fill(x < 0, 2),
    "whole": lambda x: (x * 9).int() * 2 + 1,
    "dropout": lambda x: F.dropout(x, 0.5, False),
}
SHAPES: dict[str, Operation] = {
    "permuted": lambda x: x.permute(0, 2, 3, 1).contiguous().view(1, -1) + 1,
    "reshaped": lambda x: x.transpose(1, 3).reshape(6, -1),
    "input": lambda x: x,
    "part of the input": lambda x: x[:, -1, ::2, 1:],
    "transposed result": lambda x: x.relu().transpose(1, 2),
    "cat stack": lambda x: torch.stack([torch.cat([x, x[:, :1]], 1), torch.ones(1, 5, 6, 6)], 1),
    "split chunk": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1) + sum(x.chunk(2, -1)).sum(),
    "pad": lambda x: F.pad(x, (1, 2)).sum() + F.pad(x, (-1, 2, 1, -2), value=3.0),
    "flip roll": lambda x: x.flip(1, 2) + x.roll(1, 1),
    "index": lambda x: x[..., INDICES] + x[:, [1, 2]][:, :1, :, :3],
    "embedding": lambda x: F.embedding((x[0, 0].abs() * 3).long(), torch.arange(18.0).view(6, 3)),
    "constants": lambda x: x + torch.arange(6) + torch.full((6,), 2.0) * torch.eye(6),
    "upsample": lambda x: F.interpolate(x, scale_factor=2).sum(1) + 1,
    "expand squeeze": lambda x: x[:, :1].expand(1, 3, 6, 6).squeeze(0).unsqueeze(1) * 2,
    "tril": lambda x: x.tril(),
    "unbind": lambda x: torch.stack(x.unbind(1)[:2]) + 1,
    "glu": lambda x: F.glu(x, 1),
}
REDUCTIONS: dict[str, Operation] = {
    "sum mean": lambda x: x.sum() + x.mean((0, 2)) .sum() + x.sum(1, keepdim=True) + x.mean(),
    "largest": lambda x: x.amax((1, 2)) + x.amin(1)[0] + x.max(-1)[0].sum() + x.max(),
    "prod any all": lambda x: x.prod(-1) + (x > 0).any(-1) + (x > 0).all(1).sum(),
    "variance": lambda x: x.std(-1) + x.var((1, 2), correction=0)[:, None],
    "argmax": lambda x: (x.argmax(), x.argmax(1), x.argmin(-1)),
    "norms": lambda x: F.normalize(x, dim=1) + F.rms_norm(x, (6,)),
    "softmax": lambda x: x.softmax(1) + x.log_softmax(-1) + x.transpose(1, 2).softmax(2).mean(),
    "layer norm": lambda x: F.layer_norm(x, (6,)) + F.layer_norm(x, (6, 6), torch.ones(6, 6) * 2),
    "group norm": lambda x: F.group_norm(x, 2, torch.arange(4.0), torch.ones(4)),
    "batch norm": lambda x: F.batch_norm(x, torch.arange(4.0), torch.ones(4) * 3, torch.ones(4)),
    "products": lambda x: x @ x.transpose(-1, -2) + torch.einsum("bcij,bcjk->bcik", x, x),
    "vectors": lambda x: x[0, 0] @ x[0, 0, 0] + x[0, 0, 0] @ x[0, 0, 1],
    "addmm": lambda x: torch.addmm(x[0, 0], x[0, 1], x[0, 2], beta=0.5, alpha=2),
    "linear": lambda x: F.linear(x, x[0, 0], x[0, 1, 0]),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1).sum() + F.max_pool2d(x, 2, 1, 1, dilation=2),
    "max pool ceil": lambda x: F.max_pool2d(x, 4, 3, ceil_mode=True),
    "max pool 1d": lambda x: F.max_pool1d(x[0], 2),
    "average pool": lambda x: F.avg_pool2d(x, 3, 2, 1) + F.avg_pool2d(
        x, 3, 2, 1, count_include_pad=False
    ),
    "average pool 1d": lambda x: F.avg_pool1d(x[0], 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (4, 3)) + F.adaptive_avg_pool2d(x, 1),
    "convolutions": lambda x: F.conv2d(
        x, torch.arange(96.0).view(8, 2, 3, 2), None, (2, 1), (1, 0), groups=2
    ),
    "images": lambda x: F.conv2d(x.transpose(0, 1), torch.ones(2, 1, 3, 3)),
}  # fmt: skip
GROUPS = {"elementwise": ELEMENTWISE, "shapes": SHAPES, "reductions": REDUCTIONS}


def flat(outputs: Any) -> list[Tensor]:
    return [part for each in outputs for part in (each if isinstance(each, tuple) else [each])]


@pytest.mark.parametrize("group", [*GROUPS])
def test_operations(group: str, tmp_path: Path) -> None:
    """All of a group in one program."""
    operations = GROUPS[group]

    def every(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(flat(operation(x) for operation in operations.values()))

    inputs = torch.rand(1, 4, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 0.7
    recording = floats_of(every, inputs)
    outputs, _ = compiled(write_c(recording, tmp_path)).run([inputs.numpy()])
    names = [n for n, f in operations.items() for _ in flat([f(inputs)])]
    for name, ours, theirs in zip(names, outputs, every(inputs), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), 1e-5, 1e-5, err_msg=name)
        assert ours.shape == tuple(theirs.shape)


REFUSED: dict[str, tuple[Operation, str]] = {
    "unknown": (lambda x: x.topk(2)[0], "got topk.default"),
    "double": (lambda x: x.double().sum(), "float64"),
    "random": (lambda x: x + torch.rand(6), "its result is random"),
    "transposed": (lambda x: F.conv_transpose2d(x, torch.ones(4, 1, 2, 2)), "transposed"),
    "division": (lambda x: x.div(2, rounding_mode="floor"), "got div.Tensor_mode"),
    "factor": (lambda x: F.interpolate(x, size=(9, 9)), "a whole number"),
    "norm": (lambda x: torch.linalg.vector_norm(x, 1), "must be 2, got 1"),
}


@pytest.mark.parametrize("case", [*REFUSED])
def test_refused_operations(case: str, tmp_path: Path) -> None:
    operation, message = REFUSED[case]
    recording = floats_of(operation, torch.ones(1, 4, 6, 6))
    with pytest.raises(ValueError, match=message) as raised:
        write_c(recording, tmp_path)
    assert "(exported.py:" in str(raised.value)
    assert "\n" not in str(raised.value)
