"""One step of each cell against its formulas, written out in NumPy."""

import numpy as np
import pytest
import torch

from autoquant.kernels import Cell, Weights
from autoquant.kernels.recurrent.cell import GATES, step

B, H = 3, 5


def numbers(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def sig(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def stepped(
    cell: Cell, projected, recurrent, *state, candidate_bias=None, projection=None
) -> list[np.ndarray]:
    """The next state, in float64."""
    given = projected, recurrent, *state, candidate_bias, projection
    projected, recurrent, *state, bias, projection = (
        None if part is None else torch.from_numpy(part) for part in given
    )
    weights = Weights(torch.empty(0), recurrent, None, bias, projection)
    return [part.numpy() for part in step(cell, projected, weights, tuple(state))]


@pytest.mark.parametrize("kind", GATES)
def test_gates(kind):
    assert Cell(kind).gates == {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}[kind]


@pytest.mark.parametrize("kind", ["rnn_tanh", "rnn_relu"])
def test_what_takes_a_sigmoid_candidate(kind):
    words = f"a sigmoid candidate needs an lstm or gru cell, got '{kind}'"
    with pytest.raises(ValueError, match=words):
        Cell(kind, "sigmoid")


def test_lstm():
    P, U = numbers(B, 4 * H, seed=0), numbers(4 * H, H, seed=1)
    h, c = numbers(B, H, seed=2), numbers(B, H, seed=3)
    i, f, g, o = np.split(P + h @ U.T, 4, axis=1)
    c_next = sig(f) * c + sig(i) * np.tanh(g)
    h_next = sig(o) * np.tanh(c_next)
    ours = stepped(Cell("lstm"), P, U, h, c)
    np.testing.assert_allclose(ours[0], h_next, rtol=1e-12)
    np.testing.assert_allclose(ours[1], c_next, rtol=1e-12)


def test_lstm_of_bit_rnn():
    """c' = c * sig(f + 1) + sig(i) * sig(j), h' = sig(c') * sig(o)."""
    P, U = numbers(B, 4 * H, seed=0), numbers(4 * H, H, seed=1)
    h, c = numbers(B, H, seed=2), numbers(B, H, seed=3)
    i, f, j, o = np.split(P + h @ U.T, 4, axis=1)
    c_next = c * sig(f + 1) + sig(i) * sig(j)
    h_next = sig(c_next) * sig(o)
    ours = stepped(Cell("lstm", "sigmoid"), P, U, h, c)
    np.testing.assert_allclose(ours[0], h_next, rtol=1e-12)
    np.testing.assert_allclose(ours[1], c_next, rtol=1e-12)
    assert ((ours[0] > 0) & (ours[0] < 1)).all()  # so that h suits an unsigned grid


def test_a_projected_lstm():
    """The state that goes around is the projected one; the memory is as wide as the cell."""
    width = 2
    P, U, R = numbers(B, 4 * H, seed=0), numbers(4 * H, width, seed=1), numbers(width, H, seed=4)
    h, c = numbers(B, width, seed=2), numbers(B, H, seed=3)
    i, f, g, o = np.split(P + h @ U.T, 4, axis=1)
    c_next = sig(f) * c + sig(i) * np.tanh(g)
    h_next = (sig(o) * np.tanh(c_next)) @ R.T
    ours = stepped(Cell("lstm"), P, U, h, c, projection=R)
    np.testing.assert_allclose(ours[0], h_next, rtol=1e-11)
    np.testing.assert_allclose(ours[1], c_next, rtol=1e-12)


@pytest.mark.parametrize("with_bias", [True, False], ids=["candidate-bias", "no-bias"])
def test_gru(with_bias):
    P, U = numbers(B, 3 * H, seed=0), numbers(3 * H, H, seed=1)
    h, bias = numbers(B, H, seed=2), numbers(H, seed=3) if with_bias else None
    Ur, Uz, Un = np.split(U, 3, axis=0)
    Pr, Pz, Pn = np.split(P, 3, axis=1)
    r, z = sig(Pr + h @ Ur.T), sig(Pz + h @ Uz.T)
    n = np.tanh(Pn + r * (h @ Un.T + (0 if bias is None else bias)))
    (ours,) = stepped(Cell("gru"), P, U, h, candidate_bias=bias)
    np.testing.assert_allclose(ours, (1 - z) * n + z * h, rtol=1e-11)


@pytest.mark.parametrize("levels", [None, 4], ids=["exact", "rounded"])
def test_gru_of_bit_rnn(levels):
    """r, u = sig(.), c = A(sig(x W + A(r * h) U)), h' = u * h + (1 - u) * c."""
    P, U, h = numbers(B, 3 * H, seed=0), numbers(3 * H, H, seed=1), numbers(B, H, seed=2)
    A = (lambda x: x) if levels is None else lambda x: np.round(x * levels) / levels
    Ur, Uu, Uc = np.split(U, 3, axis=0)
    Pr, Pu, Pc = np.split(P, 3, axis=1)
    r, u = sig(Pr + h @ Ur.T), sig(Pu + h @ Uu.T)
    c = A(sig(Pc + A(r * h) @ Uc.T))
    cell, state = Cell("gru", "sigmoid"), (torch.from_numpy(h),)
    weights = Weights(torch.empty(0), torch.from_numpy(U), None)
    quantize = None if levels is None else lambda x: (x * levels).round() / levels
    (ours,) = step(cell, torch.from_numpy(P), weights, state, quantize)
    np.testing.assert_allclose(ours.numpy(), u * h + (1 - u) * c, rtol=1e-11)


@pytest.mark.parametrize(
    ("kind", "function"), [("rnn_tanh", np.tanh), ("rnn_relu", lambda x: np.maximum(x, 0))]
)
def test_rnn(kind, function):
    P, U, h = numbers(B, H, seed=0), numbers(H, H, seed=1), numbers(B, H, seed=2)
    (ours,) = stepped(Cell(kind), P, U, h)
    np.testing.assert_allclose(ours, function(P + h @ U.T), rtol=1e-12)
