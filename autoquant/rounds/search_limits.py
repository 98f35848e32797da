"""The limits of a search, and the sizes that its proposals are spread over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autoquant.analysis.model_info import SearchInfo
from autoquant.artifact.manifest import breakdown
from autoquant.budget import Budget
from autoquant.costs.limit import LimitSet, limits_of
from autoquant.errors import UserError
from autoquant.samplers.size_targets import SizeTargets
from autoquant.settings import Search
from autoquant.space.reachable import check_reachable


def budget_bytes(info: SearchInfo, settings: Search) -> tuple[int, ...]:
    """The budgets in bytes, the largest first.

    Args:
        info: of the float model, whose bytes and weights they refer to.
        settings: have the budgets.

    Raises:
        UserError: two of them are equal.
    """
    values = [_value(info, text) for text in settings.budgets]
    if len({*values}) < len(values):
        raise UserError(f"budget must be different numbers of bytes, got {values}")
    return tuple(sorted(values, reverse=True))


def search_limits(info: SearchInfo, settings: Search) -> LimitSet:
    """The limits of all proposals; of several budgets the largest.

    Args:
        info: of the float model.
        settings: of the search.

    Raises:
        UserError: a budget or another limit cannot be met by any plan of the space.
    """
    values = [_value(info, text) for text in settings.budgets]
    smallest = settings.budgets[values.index(min(values))]
    for text in dict.fromkeys((smallest, settings.budgets[values.index(max(values))])):
        limits = limits_of(
            settings.changed(budget=text),
            info.network,
            float_bytes=info.float_bytes,
            parameters=info.parameters,
        )
        plan = info.space.plan(info.space.smallest)
        parts = breakdown(info.network, plan, settings.quantizer)
        details = f" ({parts}; {info.profile.coverage})" if settings.target is None else ""
        check_reachable(info.space, limits, {"size": details})
    return limits


def noted(info: SearchInfo, budgets: Sequence[str]) -> SearchInfo:
    """The facts with a line about budgets that leave nothing to be decided.

    Args:
        info: of the float model.
        budgets: as they were written.
    """
    values = {text: _value(info, text) for text in budgets}
    above = {text: value for text, value in values.items() if value > info.float_bytes}
    if not above:
        return info
    named = ", ".join(f"{text} = {value} bytes" for text, value in above.items())
    line = (
        f"budget {named}: above the float model's size, {info.float_bytes} bytes, so that every "
        "plan fits whose layers do not grow"
    )
    return replace(info, notes=(*info.notes, line))


def _value(info: SearchInfo, text: str) -> int:
    """A budget in bytes.

    Args:
        info: of the float model, whose bytes and weights it refers to.
        text: as it was written.
    """
    budget = Budget.parse(text)
    return int(budget.value(float_cost=info.float_bytes, parameters=info.parameters))


def target_sizes(info: SearchInfo, settings: Search, limits: LimitSet) -> SizeTargets:
    """The sizes of the proposals of a search.

    Args:
        info: of the float model.
        settings: have the budgets and the share of smaller sizes.
        limits: of the search.
    """
    smallest = info.space.plan(info.space.smallest)
    least = int(limits.budget.of(smallest))
    return SizeTargets(budget_bytes(info, settings), least, settings.rounds.spread)
