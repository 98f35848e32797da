"""The limits of a search, and the sizes that its proposals are spread over."""

from __future__ import annotations

from autoquant.analysis.model_info import SearchInfo
from autoquant.budget import Budget
from autoquant.costs.limit import LimitSet, limits_of
from autoquant.costs.size import size
from autoquant.errors import UserError
from autoquant.samplers.size_targets import SizeTargets
from autoquant.settings import Search


def budget_bytes(info: SearchInfo, settings: Search) -> tuple[int, ...]:
    """The budgets in bytes, the largest first.

    Args:
        info: of the float model, whose bytes and weights they refer to.
        settings: have the budgets.

    Raises:
        UserError: two of them are equal.
    """
    values = [
        Budget.parse(text).value(float_cost=info.float_bytes, parameters=info.parameters)
        for text in settings.budgets
    ]
    if len({*values}) < len(values):
        raise UserError(f"budget must be different numbers of bytes, got {values}")
    return tuple(sorted((int(value) for value in values), reverse=True))


def search_limits(info: SearchInfo, settings: Search) -> LimitSet:
    """The limits of all proposals; of several budgets the largest.

    Args:
        info: of the float model.
        settings: of the search.

    Raises:
        UserError: a budget or another limit cannot be met by any plan of the space.
    """
    raise NotImplementedError


def target_sizes(info: SearchInfo, settings: Search, limits: LimitSet) -> SizeTargets:
    """The sizes of the proposals of a search.

    Args:
        info: of the float model.
        settings: have the budgets and the share of smaller sizes.
        limits: of the search.
    """
    smallest = info.space.plan(info.space.smallest)
    least = int(size.of(info.network, smallest, settings.quantizer))
    return SizeTargets(budget_bytes(info, settings), least, settings.rounds.spread)
