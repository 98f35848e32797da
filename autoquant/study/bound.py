"""The loss that the plans of a search may have, where the smallest such plan is looked for."""

from __future__ import annotations

from autoquant.settings import Search
from autoquant.study.baseline_record import BaselineRecord
from autoquant.task import as_loss


def loss_bound(settings: Search, record: BaselineRecord) -> float | None:
    """The largest accepted loss (the score, its sign changed where higher is better), or None.

    Args:
        settings: ``loss`` or ``score`` give it; None where neither is set.
        record: of the float model.
    """
    if settings.score is not None:
        return as_loss(settings.score, record.direction)
    if not settings.loss:
        return None
    amount = float(settings.loss.removesuffix("%"))
    if settings.loss.endswith("%"):
        amount *= abs(record.score) / 100
    return as_loss(record.score, record.direction) + amount
