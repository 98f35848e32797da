"""Checks of what ready tasks and their models are given."""

from __future__ import annotations

import pytest

from autoquant.errors import UserError
from autoquant.tasks.argument_checks import check_flags, check_whole


def test_what_is_allowed() -> None:
    check_whole(0, a=0, b=7)
    check_flags(a=True, b=False)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None], ids=repr)
def test_what_is_no_whole_number(value: object) -> None:
    with pytest.raises(UserError, match=r"^b must be a whole number from 1 up, got "):
        check_whole(1, a=1, b=value)


@pytest.mark.parametrize("value", [0, 1, "true", None], ids=repr)
def test_what_is_no_flag(value: object) -> None:
    with pytest.raises(UserError, match=r"^b must be true or false, got "):
        check_flags(a=True, b=value)
