from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.budget import UNITS, Budget, readable
from autoquant.errors import UserError

MODEL = {"float_cost": 4_000_000, "parameters": 1_000_000}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.15x", 600_000),
        ("1x", 4_000_000),
        ("4.5bpw", 562_500),
        ("300B", 300),
        ("2kB", 2_000),
        ("2.5MB", 2_500_000),
        ("1GB", 10**9),
        ("2KiB", 2_048),
        ("1.5MiB", 1_572_864),
        ("1GiB", 2**30),
        (".5MB", 500_000),
        ("2.5e3kB", 2_500_000),
        ("1e-1X", 400_000),
        ("  2.5 MB ", 2_500_000),
    ],
)
def test_forms(text, expected):
    assert Budget.parse(text).value(**MODEL) == expected


@pytest.mark.parametrize(
    ("cost", "text", "expected"),
    [
        ("bit_ops", "0.5x", 2_000_000),
        ("bit_ops", "40M", 40_000_000),
        ("macs", "1500", 1_500),
        ("macs", "2.5k", 2_500),
        ("macs", "1e3g", 10**12),
        ("activation_memory", "1.5KiB", 1_536),
        ("peak_memory", "0.1x", 400_000),
        ("latency", "800us", 800e-6),
        ("latency", "2.5MS", 2.5e-3),
        ("latency", "1s", 1),
    ],
)
def test_forms_of_other_costs(cost, text, expected):
    budget = Budget.parse(text, cost)
    assert budget.value(**MODEL) == pytest.approx(expected, rel=1e-12)
    assert Budget.parse(str(budget), cost) == budget


def test_a_latency_is_not_rounded():
    assert Budget.parse("0.5x", "latency").value(float_cost=3e-4, parameters=1) == 1.5e-4


@pytest.mark.parametrize("text", ["0.5x", "4bpw", *(f"3{unit}" for unit in UNITS)])
def test_case_does_not_matter_and_the_unit_is_written_as_it_should_be(text):
    budget = Budget.parse(text)
    assert Budget.parse(text.upper()) == Budget.parse(text.lower()) == budget
    assert str(Budget.parse(text.swapcase())) == text


@given(
    amount=st.decimals("0.001", "999", places=3),
    unit=st.sampled_from(["x", "bpw", *UNITS]),
    float_bytes=st.integers(4, 10**9),
)
def test_bytes_are_rounded_down(amount, unit, float_bytes):
    """Against exact arithmetic; one byte is allowed for binary fractions such as 0.1."""
    parameters = float_bytes // 4
    factor = {"x": float_bytes, "bpw": Fraction(parameters, 8), **UNITS}[unit]
    exact = Fraction(amount) * factor
    size = Budget.parse(f"{amount}{unit}").value(float_cost=float_bytes, parameters=parameters)
    assert isinstance(size, int)
    assert abs(size - int(exact)) <= 1
    assert size <= exact + Fraction(1, 10**3)


@given(
    amount=st.decimals("0.000001", "99999999", places=6),
    unit=st.sampled_from(["x", "bpw", *UNITS]),
)
def test_reads_what_it_prints(amount, unit):
    budget = Budget.parse(f"{amount}{unit}")
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("text", ["0.15x", "2.5MB", "4bpw", "1234567B"])
def test_prints_what_was_written(text):
    assert str(Budget.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "x", "2.5", "2.5TB", "2,5MB", "-1MB", "1.2.3MB", "MB 2", "2.5MB!", "nanx", "infMB", "5%"],
)
def test_refuses_what_is_not_a_budget(text):
    with pytest.raises(UserError, match="budget must look like") as caught:
        Budget.parse(text)
    assert str(caught.value).endswith(f"got {text!r}")


@pytest.mark.parametrize("text", ["0x", "0.0MB", "1e999x"])
def test_refuses_nothing_and_everything(text):
    with pytest.raises(UserError, match="budget must be above 0") as caught:
        Budget.parse(text)
    assert repr(text) in str(caught.value)


def test_is_a_value():
    budget = Budget.parse("2.5MB")
    assert budget == Budget(2.5, "MB")
    assert hash(budget) == hash(Budget(2.5, "MB"))
    assert budget != Budget.parse("2500kB")  # as it was written
    with pytest.raises(AttributeError):
        budget.amount = 3.0


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (1_234_567, "1.23 MB"),
        (12_345_678, "12.3 MB"),
        (123_456_789, "123 MB"),
        (5_000_000_000, "5 GB"),
        (-2_500, "-2.5 kB"),
    ],
)
def test_readable(size, expected):
    assert readable(size) == expected
