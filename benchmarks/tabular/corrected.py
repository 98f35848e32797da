"""Corrected: measured loss increases, corrected by the scores of what they propose."""

from __future__ import annotations

import numpy as np

from benchmarks.tabular.loss_model import LossModel, Scored
from benchmarks.tabular.problem import Oracle, Problem, Spent, predicted, widths

MODEL_FREEDOM = 2
"""Degrees of freedom that the model's noise counts as, beside those of repeated scores."""


class Corrected:
    """Batches of the plans with the lowest predicted loss; the predictions learn from each batch.

    A batch is trained to the short rung, its best part to the medium rung. At the end the best few
    plans are scored in another data order.

    Args:
        problem: the table.
        oracle: gives scores.
        seed: of the draws.
        kind: of the predictors.
        power: of the loss increases.
        greedy: whether the lowest means are proposed, instead of the lowest of random draws
            (Thompson sampling).
        corrections: whether each dimension has a factor of its own.
        batch: plans of a batch.
        promoted: how many of these reach the medium rung.
        finalists: plans that are scored again, besides the first solution.
        repeats: further data orders of the finalists; 0: the lowest posterior mean is final.
        deviations: standard errors by which the first solution must be beaten.
    """

    def __init__(
        self,
        problem: Problem,
        oracle: Oracle,
        seed: int,
        *,
        kind: str = "alone",
        power: float = 1.0,
        greedy: bool = False,
        corrections: bool = True,
        batch: int = 8,
        promoted: int = 4,
        finalists: int = 3,
        repeats: int = 1,
        deviations: float = 2.0,
    ) -> None:
        self._problem, self._oracle = problem, oracle
        self._random = np.random.default_rng(seed)
        self._increases = predicted(problem.evidence, kind, power)
        self._widths = widths(problem.evidence)
        self._greedy, self._corrections = greedy, corrections
        self._batch, self._promoted = batch, promoted
        self._finalists, self._repeats, self._deviations = finalists, repeats, deviations
        self._scored: list[Scored] = []
        self._medium: dict[int, list[float]] = {}
        self._tried: set[int] = set()
        first = problem.first_of("first")
        self._first = int(problem.rows[0]) if first is None else first

    def run(self) -> int:
        """The chosen plan."""
        reserve = (self._finalists + 1) * self._repeats * self._problem.evidence.cost("medium")
        try:
            self._score(self._first, "medium")
            self._tried.add(self._first)
            while self._oracle.left - reserve >= self._batch_cost():
                if not self._train(self._proposals()):
                    break
        except Spent:
            pass
        return self._choice()

    def _batch_cost(self) -> int:
        evidence = self._problem.evidence
        if self._promoted == self._batch:
            return self._batch * evidence.cost("medium")
        short = self._batch * evidence.cost("short")
        return short + self._promoted * evidence.cost("medium", "short")

    def _train(self, rows: list[int]) -> bool:
        """Train a batch; whether there was one."""
        self._tried.update(rows)
        if self._promoted < self._batch:
            for row in rows:
                self._score(row, "short")
            means, _ = self._model().posterior(np.array(rows))
            rows = [rows[i] for i in np.argsort(means)[: self._promoted]]
        for row in rows:
            self._score(row, "medium")
        return bool(rows)

    def _score(self, row: int, rung: str, order: int = 0) -> None:
        """Ask for a score and keep it.

        Args:
            row: index of the plan.
            rung: its name.
            order: number of the data order.
        """
        loss = self._oracle.score(row, rung, order)
        self._scored.append(Scored(row, rung == "short", loss))
        if rung == "medium":
            self._medium.setdefault(row, []).append(loss)

    def _model(self) -> LossModel:
        return LossModel(self._increases, self._widths, self._scored, corrections=self._corrections)

    def _proposals(self) -> list[int]:
        """Untried plans with the lowest predicted losses."""
        rows = np.array([row for row in self._problem.rows.tolist() if row not in self._tried])
        if len(self._scored) < 2:  # nothing to learn from
            return rows[np.argsort(self._increases[rows].sum(1))[: self._batch]].tolist()
        if self._greedy:
            means, _ = self._model().posterior(rows)
            return rows[np.argsort(means)[: self._batch]].tolist()
        proposals: dict[int, None] = {}
        for draw in self._model().samples(rows, 4 * self._batch, self._random):
            proposals.setdefault(int(rows[draw.argmin()]))
        return [*proposals][: self._batch]

    def _choice(self) -> int:
        """The best plan of those that reached the medium rung."""
        if len(self._scored) < 2:
            return self._first
        rows = np.array([*self._medium])
        means, _ = self._model().posterior(rows)
        ranked = rows[np.argsort(means)].tolist()
        if not self._repeats:
            return int(ranked[0])
        finalists = [row for row in ranked if row != self._first][: self._finalists]
        self._repeat([self._first, *finalists])
        losses = {row: float(np.mean(self._medium[row])) for row in [self._first, *finalists]}
        best = min(losses, key=losses.__getitem__)
        counts = [len(self._medium[row]) for row in (best, self._first)]
        error = self._noise() * np.sqrt(sum(1 / n for n in counts))
        beaten = losses[self._first] - losses[best] > self._deviations * error
        return best if beaten else self._first

    def _noise(self) -> float:
        """Deviation of a score: of the repeated ones, and the model's."""
        repeated = [losses for losses in self._medium.values() if len(losses) > 1]
        squares = [float(np.var(losses, ddof=1)) * (len(losses) - 1) for losses in repeated]
        freedom = sum(len(losses) - 1 for losses in repeated)
        of_model = self._model().noise ** 2 * MODEL_FREEDOM
        return float(np.sqrt((sum(squares) + of_model) / (freedom + MODEL_FREEDOM)))

    def _repeat(self, rows: list[int]) -> None:
        """Score plans in further data orders, as far as these were recorded."""
        try:
            for order in range(1, self._repeats + 1):
                for row in rows:
                    if self._oracle.has(row, order):
                        self._score(row, "medium", order)
        except Spent:
            pass
