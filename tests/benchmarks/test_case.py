"""A case's result: what is timed, what is skipped and said, what is wrong and refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.case import Absent, Call, Case, FurtherBase, Options, Variant, WrongResult
from benchmarks.checks import close_to, relative_error
from benchmarks.peers import need
from benchmarks.table import CaseResult
from tests.benchmarks.clock import Clock

QUICK = Options(rounds=3, seconds=0.0)


def case(*variants: Variant, **fields: Any) -> Case:
    return Case("group", "a title", "label", variants, **fields)


def quantities(result: CaseResult, variant: str) -> list[str]:
    return [m.quantity for m in result.measurements if m.variant == variant]


def nothing() -> Call:
    return lambda: None


def absent() -> Call:
    raise Absent("it is not installed")


def test_every_variant_has_a_ratio_and_a_time() -> None:
    result = case(Variant("base", nothing), Variant("other", nothing)).measure(QUICK)
    assert quantities(result, "base") == ["over base", "ms"]
    assert quantities(result, "other") == ["over base", "ms"]
    assert not result.notes
    assert not result.wrong


def test_absent_variants_are_skipped_with_one_line_for_each_reason() -> None:
    result = case(Variant("base", nothing), Variant("one", absent), Variant("two", absent)).measure(
        QUICK
    )
    assert result.notes == ("skipped, it is not installed: one; two",)
    assert quantities(result, "one") == []


def test_a_peer_that_is_not_installed_is_absent() -> None:
    need("torch")
    with pytest.raises(Absent, match="no_such_package is not installed"):
        need("torch", "no_such_package")


def test_a_wrong_result_is_not_timed() -> None:
    right = {"output": torch.ones(3)}

    def giving(value: float) -> Callable[[], Call]:
        return lambda: lambda: {"output": torch.full((3,), value)}

    check = close_to(lambda: right, 0.1)
    result = case(
        Variant("base", giving(1.0), check),
        Variant("near", giving(1.05), check),
        Variant("far", giving(1.2), check),
        Variant("not a number", giving(float("nan")), check),
    ).measure(QUICK)
    assert {m.variant for m in result.measurements} == {"base", "near"}
    far, broken = result.wrong
    assert far == "WRONG, not timed: far: output must be within 0.1 of what it should be, got 0.2"
    assert broken.startswith("WRONG, not timed: not a number")


def test_a_variant_that_breaks_does_not_end_the_others() -> None:
    def broken() -> Call:
        raise ValueError("no such kernel\nand more")

    result = case(Variant("base", nothing), Variant("broken", broken)).measure(QUICK)
    assert result.wrong == ("FAILED: broken: ValueError: no such kernel",)


def test_without_its_base_nothing_is_timed() -> None:
    result = case(Variant("base", absent), Variant("other", nothing)).measure(QUICK)
    assert result.measurements == ()
    assert result.notes == ("skipped, it is not installed: base",)
    assert result.wrong == ("nothing timed: the base is base, which is missing",)


def test_a_further_base_is_the_fastest_of_its_kind(clock: Clock) -> None:
    result = case(
        Variant("base", partial(clock.lasting, 1.0)),
        Variant("rival, slow", partial(clock.lasting, 4.0)),
        Variant("rival, quick", partial(clock.lasting, 2.0)),
        over=(FurtherBase("best rival", "rival"), FurtherBase("nobody", "nobody")),
    ).measure(QUICK)
    medians = {m.variant: m.median for m in result.measurements if m.quantity == "over best rival"}
    assert medians == {"base": 0.5, "rival, slow": 2.0, "rival, quick": 1.0}
    assert quantities(result, "base") == ["over base", "over best rival", "ms"]


def test_long_cases_have_fewer_rounds_and_say_so() -> None:
    calls: list[None] = []
    variant = Variant("base", lambda: lambda: calls.append(None))
    result = case(variant, max_rounds=2).measure(QUICK)
    assert result.notes == ("2 rounds",)
    assert len(calls) == 1 + 2 + 2  # checked, warmed up, timed


def test_checks_compare_what_both_have() -> None:
    check = close_to(lambda: {"output": torch.ones(2), "gradient": torch.ones(2)}, 0.1)
    check({"output": torch.ones(2), "other": torch.zeros(5)})
    with pytest.raises(WrongResult, match="gradient must be within"):
        check({"output": torch.ones(2), "gradient": torch.zeros(2)})
    with pytest.raises(WrongResult, match=r"output must have shape \[2\], got \[3\]"):
        check({"output": torch.ones(3)})


def test_relative_errors_are_over_all_values() -> None:
    assert relative_error(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)
