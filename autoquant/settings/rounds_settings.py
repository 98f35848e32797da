"""Rounds: how the plans of a search are proposed, trained and compared."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.settings.base import Settings
from autoquant.settings.checks import check_types, require


@dataclass(frozen=True)
class Rounds(Settings):
    """How the plans of a search are proposed in rounds and trained on three rungs.

    All plans are trained on the short rung, of the length that ``qat`` has. Some of them go on to
    the medium rung, and the last few to the full rung, of the length that ``final`` has.

    Attributes:
        size: Plans that are proposed and trained side by side, before their scores are used.
        overlap: Whether a round is proposed and begun while the one before it is still trained: it
            then follows from the scores up to the round before that one. For clusters, whose
            workers need not wait for the last training of a round; rounds.size is then at least
            the number of workers.
        orders: Data orders (batches, dropout, growth) on which the first plan of each budget and
            the finalists are trained. The spread of their scores is the noise of the search.
        medium: Length of the medium rung, in lengths of the short one. 1: there is no medium rung.
        promoted: Share of the plans that go on to the medium rung; the best plan of each width
            and of each size group always does.
        finalists: Plans of each budget that are compared at the end, on all data orders; the first
            plan is one of them.
        full: Whether the finalists are trained on the full rung, which ``apply`` then continues;
            if not, they are compared on the medium rung.
        spread: Share of the proposals that are given smaller sizes than the budget, for the Pareto
            front.
    """

    size: int = 8
    overlap: bool = False
    orders: int = 3
    medium: float = 4.0
    promoted: float = 0.25
    finalists: int = 3
    full: bool = True
    spread: float = 0.67

    def __post_init__(self) -> None:
        check_types(self, "rounds.")
        require(self.size >= 1, "rounds.size must be at least 1", self.size)
        require(self.orders >= 1, "rounds.orders must be at least 1", self.orders)
        require(self.medium >= 1, "rounds.medium must be at least 1", self.medium)
        require(0 <= self.promoted <= 1, "rounds.promoted must be in [0, 1]", self.promoted)
        require(self.finalists >= 1, "rounds.finalists must be at least 1", self.finalists)
        require(0 <= self.spread < 1, "rounds.spread must be in [0, 1)", self.spread)
