"""The fused kernel against the reference, and which of them is chosen."""

import pytest
import torch

from autoquant.kernels import Cell, Weights, fused, recur, reference
from autoquant.kernels.cell import GATES


def case(kind: str, bias: str, T: int = 7, B: int = 3, F: int = 4, H: int = 5):
    """Leaves that want a gradient: inputs, weights, state."""
    torch.manual_seed(1)
    rows = Cell(kind).gates * H

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64).requires_grad_()

    weights = Weights(
        leaf(rows, F),
        leaf(rows, H),
        None if bias == "none" else leaf(rows),
        leaf(H) if bias == "candidate" else None,
    )
    state = tuple(leaf(B, H) for _ in range(2 if kind == "lstm" else 1))
    return leaf(T, B, F), weights, state


def compared(kind: str, inputs, weights, state) -> None:
    leaves = [each for each in (inputs, *weights, *state) if each is not None]
    results = []
    for kernel in (fused, reference):
        outputs, last = kernel.recur(Cell(kind), inputs, weights, state, None)
        together = (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum()
        together = together + sum((part.square()).sum() for part in last)
        results.append((outputs, *last, *torch.autograd.grad(together, leaves)))
    for ours, expected in zip(*results, strict=True):
        assert ours.shape == expected.shape
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "bias"),
    [
        *[(kind, bias) for kind in GATES for bias in ("none", "one")],
        ("gru", "candidate"),
    ],
)
def test_equals_the_reference_with_gradients(kind, bias):
    compared(kind, *case(kind, bias))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("T", "B"), [(1, 1), (1, 4), (9, 1)])
def test_equals_the_reference_at_the_edges(kind, T, B):
    compared(kind, *case(kind, "one", T=T, B=B))


@pytest.mark.parametrize(
    ("cell", "quantize", "expected"),
    [
        pytest.param(Cell("lstm"), None, True, id="float"),
        pytest.param(Cell("gru"), None, True, id="float-gru"),
        pytest.param(Cell("lstm"), torch.round, False, id="quantized"),
        pytest.param(Cell("lstm", "sigmoid"), None, False, id="sigmoid-candidate"),
    ],
)
def test_the_fused_kernel_is_chosen_where_it_computes_what_is_asked(
    cell, quantize, expected, monkeypatch
):
    called = []
    for kernel in (fused, reference):
        original = kernel.recur
        monkeypatch.setattr(
            kernel,
            "recur",
            lambda *args, original=original, kernel=kernel: (
                called.append(kernel) or original(*args)
            ),
        )
    inputs, weights, state = case(cell.kind, "one")
    outputs, last = recur(cell, inputs, weights, state, quantize)
    assert fused.suits(cell, quantize) is expected
    assert called == [fused if expected else reference]
    again, end = reference.recur(cell, inputs, weights, state, quantize)
    torch.testing.assert_close(outputs, again, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(last, end, rtol=1e-10, atol=1e-12)
