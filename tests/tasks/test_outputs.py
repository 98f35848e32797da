from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autoquant.errors import UserError
from autoquant.tasks.outputs import check_output, selected


@pytest.mark.parametrize(
    ("outputs", "output", "expected"),
    [
        ((1, 2), None, (1, 2)),
        ((1, 2), 1, 2),
        ({"a": 1}, "a", 1),
        (SimpleNamespace(a=3), "a", 3),
        ((1, 2), sum, 3),
    ],
    ids=["all", "number", "key", "attribute", "function"],
)
def test_the_part_that_is_asked_for(outputs: Any, output: Any, expected: Any) -> None:
    check_output(output)
    assert selected(outputs, output) == expected


@pytest.mark.parametrize(
    ("outputs", "output", "line"),
    [
        ((1, 2), 2, "a part of what the model returns, a tuple, got 2"),
        ({"a": 1, "b": 2}, "c", "a dict with a, b, got 'c'"),
        (3, "a", "a int, got 'a'"),
    ],
    ids=["number", "key", "attribute"],
)
def test_a_part_that_is_not_there(outputs: Any, output: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        selected(outputs, output)


def test_what_selects_nothing() -> None:
    with pytest.raises(UserError, match="output must be a key, a number or a function"):
        check_output(0.5)
