"""Parts of error messages: values of any size are shown in a few characters."""

from __future__ import annotations

import time

import pytest
from torch import nn

from autoquant.errors import MAX_MESSAGE, MAX_SHOWN, RunError, UserError, shortened, shown


class Odd:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def nested(depth: int) -> list[object]:
    inner: list[object] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def laughs() -> list[object]:
    inner: list[object] = ["x"]
    for _ in range(12):
        inner = [inner] * 9
    return inner


LARGE = {
    "text": "x" * 10**7,
    "list": list(range(10**6)),
    "mapping": {i: i for i in range(10**5)},
    "expanded": laughs(),
    "deep": nested(10**5),
    "number": 9**100_000,
    "module": nn.Sequential(*[nn.Linear(2, 2)] * 500),
    "no repr": Odd(),
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_value_is_shown_in_part(value: object) -> None:
    started = time.monotonic()
    text = shown(value)
    assert 0 < len(text) <= MAX_SHOWN
    assert "\n" not in text
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "value",
    ["it's", 3, -7.5, None, True, [1, 2], (1,), {"b": 1, "a": [2]}, {3}, 2**64],
    ids=repr,
)
def test_a_small_value_is_shown_as_it_is(value: object) -> None:
    assert shown(value) == repr(value)


@pytest.mark.parametrize("error", [UserError, RunError])
def test_a_message_is_bounded_and_keeps_its_end(error: type[Exception]) -> None:
    text = str(error("must be small, got " + "x" * 10**6 + "; take another folder"))
    assert len(text) == MAX_MESSAGE
    assert text.startswith("must be small, got xxx")
    assert text.endswith("; take another folder")
    assert shortened("short") == "short"
