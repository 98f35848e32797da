"""Limits beside the size: what they may be, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.settings import Limits, Search, from_dict


def test_limits_are_kept_as_written_in_the_order_of_the_fields() -> None:
    limits = Limits(latency="2.5ms", bit_ops="0.5x", macs=4_000_000)
    assert limits.macs == "4000000"
    budgets = [Budget(0.5, "x", "bit_ops"), Budget(4e6, "", "macs"), Budget(2.5, "ms", "latency")]
    assert [*limits.budgets] == budgets
    assert Limits(bit_ops=Budget.parse("2G", "bit_ops")).bit_ops == "2G"  # type: ignore[arg-type]
    assert Limits().budgets == ()
    assert from_dict(Search, {"limits": {"macs": "1.2x"}}).limits == Limits(macs="1.2x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bit_ops": "0.5y"}, "limits.bit_ops must look like 0.5x, 40M or 2G, got '0.5y'"),
        ({"bit_ops": "4bpw"}, "limits.bit_ops must look like 0.5x, 40M or 2G, got '4bpw'"),
        (
            {"peak_memory": "40M"},
            "limits.peak_memory must look like 0.5x, 300kB or 1.5MiB, got '40M'",
        ),
        ({"latency": "3"}, "limits.latency must look like 0.5x, 800us or 2.5ms, got '3'"),
        ({"latency": "0ms"}, "limits.latency must be above 0, got '0ms'"),
        ({"macs": "0.9x"}, "limits.macs must be at least 1.0x, since widths only grow, got '0.9x'"),
        (
            {"latency": 0.5},
            "limits.latency must be a text such as '0.5x', got 0.5; write latency='0.5x'",
        ),
        ({"macs": True}, "limits.macs must be a text such as '0.5x', got True"),
    ],
)
def test_what_is_no_limit_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Limits(**values)
    assert str(caught.value) == message
