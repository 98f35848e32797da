"""Products in two precisions."""

import pytest
import torch

from autoquant.kernels.matmul import add_product_, narrowed, product


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_products(precision, error):
    torch.manual_seed(0)
    left, right, rows = torch.randn(5, 40), torch.randn(40, 7), torch.randn(5, 7)
    exact = left.double() @ right.double()
    factor = narrowed(right, precision)
    near = {"rtol": 0, "atol": error * float(exact.abs().max()), "check_dtype": False}
    ours = product(left, factor)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, exact, **near)
    expected = exact + rows
    add_product_(rows, left, factor)
    torch.testing.assert_close(rows, expected, **near)


def test_single_precision_is_left_alone():
    values = torch.randn(3)
    assert narrowed(values, "float32") is values
