"""SearchRounds: proposes plans in rounds and trains them on rising rungs, until one is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from autoquant.plan import Plan
from autoquant.rounds.halving import best_of_each_width, promoted, size_group
from autoquant.rounds.rungs import Rung
from autoquant.settings import Rounds
from autoquant.study.job import Job, JobResult
from autoquant.study.noise import Noise, noise_of
from autoquant.study.outcome import Outcome, OutcomeState, TrialRole, loss_of
from autoquant.study.selection import MIN_ERRORS
from autoquant.study.trial_storage import TrialStorage
from autoquant.task import Direction, as_loss

NOT_PROMOTED = "not among the best of its size and width on this rung"

CLEAR_GAP = 0.01
"""Share of the float model's score by which the most bits must be worse before anything is said."""

RunJobs = Callable[[Sequence[Job], Callable[[Job, JobResult], None]], object]
"""Runs jobs, and calls a function with each and its result as it ends."""


class Proposer(Protocol):
    """Opens the proposals of a search."""

    def open_next(self) -> Plan | None:
        """Open a trial for the next plan; None where there is none left."""

    def open_references(self) -> None:
        """Open the trials of the uniform plans that have none yet."""


@dataclass(frozen=True)
class Goal:
    """What the plans of a search are compared by.

    Attributes:
        budgets: bytes of the packed file, the largest first.
        direction: whether low or high scores are good.
        sizes: number of weights of each layer, by name.
        float_score: score of the float model.
        bound: the largest accepted loss, where the smallest plan within it is looked for.
    """

    budgets: tuple[int, ...]
    direction: Direction
    sizes: dict[str, int]
    float_score: float
    bound: float | None = None


class SearchRounds:
    """The rounds of one search. Jobs whose results are recorded are not run again.

    Args:
        storage: the trials.
        proposer: opens trials.
        run_jobs: runs jobs.
        rungs: of the search, the shortest first.
        rounds: settings.
        goal: what plans are compared by.
        say: prints a line for the user.
        changed: called when the trials have changed.
    """

    def __init__(
        self,
        storage: TrialStorage,
        proposer: Proposer,
        run_jobs: RunJobs,
        rungs: tuple[Rung, ...],
        rounds: Rounds,
        goal: Goal,
        say: Callable[[str], None],
        changed: Callable[[str, TrialRole], None],
    ) -> None:
        self.storage, self.proposer, self.rungs, self.rounds = storage, proposer, rungs, rounds
        self.goal, self.say, self.changed = goal, say, changed
        self._run_jobs = run_jobs

    def run(self, trials: int) -> None:
        """Propose, train and compare plans until every trial has ended.

        Args:
            trials: number of proposals.
        """
        self.storage.close_interrupted()
        self._train_references()
        self._propose(trials)
        for lower, upper in zip(self.rungs, self.rungs[1:], strict=False):
            if upper is not self.rungs[-1] or upper.name == "medium":
                self._promote(lower, upper)
        self._finish()

    # --- the parts of a search -------------------------------------------------------------------

    def _train_references(self) -> None:
        """Train the uniform plans on the short rung, the one with the most bits repeatedly."""
        self.proposer.open_references()
        references = self._outcomes("reference")
        orders = {references[0].trial: self.rounds.orders} if references else {}
        self._train(references, self.rungs[0], orders)
        self._check_recipe()
        for outcome in self._outcomes("reference"):
            if outcome.score is not None:
                self._end(outcome, "complete", values=(outcome.size_bytes, outcome.score))

    def _check_recipe(self) -> None:
        """Say so where the plan with the most bits is clearly worse than the float model."""
        references, noise = self._outcomes("reference"), self.noise()
        if not references or references[0].score is None or not noise.degrees:
            return
        loss = loss_of(references[0], self.goal.direction)
        gap = loss - as_loss(self.goal.float_score, self.goal.direction)
        error = noise.error(len(references[0].by_order()))
        if gap > max(MIN_ERRORS * error, CLEAR_GAP * abs(self.goal.float_score)):
            self.say(
                f"{references[0].trial[1:]} bits everywhere score {references[0].score:.5g} after "
                f"{self.rungs[0].steps} steps, against {self.goal.float_score:.5g} in float: the "
                f"training does not suit (qat.lr is {self.rungs[0].training.lr:g}; a lower one, or "
                "more qat.steps, may)"
            )

    def _propose(self, trials: int) -> None:
        """Propose and train plans on the short rung, in rounds."""
        firsts = len(self.goal.budgets)
        while True:
            asked = len(self._outcomes("search"))
            unscored = [o for o in self._open() if o.score is None]
            if not unscored and (asked >= trials or self._nothing_to_gain(asked)):
                return
            size = self.rounds.size
            end = min(trials, math.ceil((asked + (not unscored)) / size) * size)
            while asked < end and self.proposer.open_next() is not None:
                asked += 1
            opened = self._open()
            if not any(o.score is None for o in opened):
                self.say("every plan of the space that fits the budget has been tried")
                return
            repeats = {o.trial: self.rounds.orders for o in self._outcomes("search")[:firsts]}
            self._train(opened, self.rungs[0], repeats)

    def _promote(self, lower: Rung, upper: Rung) -> None:
        """Train the best plans of a rung on the next one, and end the others.

        Args:
            lower: on which all open plans have a score.
            upper: the next one.
        """
        on_rung = [o for o in self._open() if o.steps == lower.steps]
        kept = promoted(
            on_rung,
            self.goal.budgets,
            self.goal.direction,
            self.rounds.promoted,
            self.goal.sizes,
        )
        names = {o.trial for o in (*kept, *self._firsts())}
        for outcome in on_rung:
            if outcome.trial not in names:
                self._end(outcome, "pruned", NOT_PROMOTED)
        self._train([o for o in on_rung if o.trial in names], upper, {})

    def _finish(self) -> None:
        """Train the finalists on the last rung, and end all trials."""
        last, candidates = self.rungs[-1], self._open()
        orders: dict[str, int] = {}
        for outcome in self._front_plans(candidates):
            orders[outcome.trial] = 1
        for budget in self.goal.budgets:
            for outcome in self._finalists(candidates, budget):
                orders[outcome.trial] = self.rounds.orders
        self._train([o for o in candidates if o.trial in orders], last, orders)
        for outcome in self._open():
            if outcome.trial in orders and outcome.score is not None:
                self._end(outcome, "complete", values=(outcome.size_bytes, outcome.score))
            else:
                self._end(outcome, "pruned", NOT_PROMOTED)

    # --- choosing --------------------------------------------------------------------------------

    def _firsts(self) -> list[Outcome]:
        """The first proposal of each budget, where it can still be trained."""
        names = {o.trial for o in self._outcomes("search")[: len(self.goal.budgets)]}
        return [o for o in self._open() if o.trial in names]

    def _finalists(self, candidates: Sequence[Outcome], budget: int) -> list[Outcome]:
        """The first plan within a budget, and the best others on the longest rung so far.

        Args:
            candidates: open trials with scores.
            budget: in bytes.
        """
        fitting = [o for o in candidates if o.size_bytes <= budget]
        if self.goal.bound is not None:
            return self._nearest_to(self.goal.bound, fitting)
        firsts = [o for o in self._firsts() if o.size_bytes <= budget][:1]
        longest = max((o.steps for o in fitting), default=0)
        on_longest = [o for o in fitting if o.steps == longest]
        ranked = sorted(on_longest, key=lambda o: loss_of(o, self.goal.direction))
        others = [o for o in ranked if o.trial not in {f.trial for f in firsts}]
        return firsts + others[: self.rounds.finalists - len(firsts)]

    def _nearest_to(self, bound: float, candidates: Sequence[Outcome]) -> list[Outcome]:
        """The smallest plans within a loss, and those that are next to it from above.

        Args:
            bound: the largest accepted loss.
            candidates: open trials with scores.
        """
        longest = max((o.steps for o in candidates), default=0)
        on_longest = [o for o in candidates if o.steps == longest]
        losses = {o.trial: loss_of(o, self.goal.direction) for o in on_longest}
        within = sorted(
            (o for o in on_longest if losses[o.trial] <= bound), key=lambda o: o.size_bytes
        )
        above = sorted(
            (o for o in on_longest if losses[o.trial] > bound), key=lambda o: losses[o.trial]
        )
        return (within[: self.rounds.finalists - 1] + above)[: self.rounds.finalists]

    def _front_plans(self, candidates: Sequence[Outcome]) -> list[Outcome]:
        """The best plan of each group of sizes, and of each width, on the longest rung so far."""
        longest = max((o.steps for o in candidates), default=0)
        on_longest = [o for o in candidates if o.steps == longest]
        smallest = min((o.size_bytes for o in on_longest), default=1)
        by_group: dict[tuple[str, int], Outcome] = {}
        for outcome in sorted(on_longest, key=lambda o: loss_of(o, self.goal.direction)):
            group = size_group(outcome.size_bytes, self.goal.budgets, smallest)
            by_group.setdefault(group, outcome)
        return [*by_group.values(), *best_of_each_width(on_longest, self.goal.direction)]

    def noise(self) -> Noise:
        """The noise on the short rung."""
        return noise_of(self._outcomes("reference") + self._outcomes("search"), self.rungs[0].steps)

    def _nothing_to_gain(self, asked: int) -> bool:
        """Whether the first plan of each budget is level with the most bits everywhere.

        Args:
            asked: number of proposals so far.
        """
        references = self._outcomes("reference")
        firsts = self._outcomes("search")[: len(self.goal.budgets)]
        if asked < max(self.rounds.size, len(self.goal.budgets)) or not references:
            return False
        if references[0].score is None or self.goal.bound is not None:
            return False
        gaps = [self._gap(outcome, references[0]) for outcome in firsts]
        known = [gap for gap in gaps if gap is not None]
        if not known or len(known) < len(gaps):
            return False
        if any(value > MIN_ERRORS * error for value, error in known):
            return False
        value, error = max(known)
        self.say(
            f"nothing can be gained by more proposals: the first plan's loss is {value:+.3g} "
            f"(standard error {error:.2g}) against {references[0].trial[1:]} bits everywhere"
        )
        return True

    def _gap(self, outcome: Outcome, reference: Outcome) -> tuple[float, float] | None:
        """How much higher the loss of a plan is on the short rung, and its standard error.

        Args:
            outcome: a proposal.
            reference: the uniform plan with the most bits.
        """
        steps = self.rungs[0].steps
        one, other = outcome.by_order(steps), reference.by_order(steps)
        noise = self.noise()
        if not one or not other or not noise.degrees:
            return None
        means = (
            as_loss(sum(scores.values()) / len(scores), self.goal.direction)
            for scores in (one, other)
        )
        error = math.hypot(noise.error(len(one)), noise.error(len(other)))
        mine, theirs = means
        return mine - theirs, error

    # --- training --------------------------------------------------------------------------------

    def _train(self, outcomes: Iterable[Outcome], rung: Rung, orders: dict[str, int]) -> None:
        """Run the jobs of some trials on a rung, and record their scores.

        Args:
            outcomes: open trials.
            rung: that they are trained on.
            orders: number of data orders by trial, where it is not 1.
        """
        trials: dict[Job, tuple[TrialRole, str]] = {}
        for outcome in outcomes:
            known = outcome.by_order(rung.steps)
            for order in range(orders.get(outcome.trial, 1)):
                if order not in known:
                    label = f"trial {outcome.trial}" + (f", data order {order}" if order else "")
                    job = Job(outcome.plan, rung.steps, order, label)
                    trials[job] = (outcome.role, outcome.trial)

        def ended(job: Job, result: JobResult) -> None:
            role, name = trials[job]
            if result.score is None:
                state: OutcomeState = "failed" if result.state == "complete" else result.state
                self.storage.end(role, name, state, result.reason)
            else:
                score = (job.steps, job.order, result.score)
                self.storage.add_score(role, name, score, result.seconds)
            self.changed(name, role)

        self._run_jobs([*trials], ended)

    def _end(
        self,
        outcome: Outcome,
        state: OutcomeState,
        reason: str = "",
        values: tuple[float, float] | None = None,
    ) -> None:
        """Close a trial that is open.

        Args:
            outcome: of the trial.
            state: how it ended.
            reason: why it did not complete.
            values: size and score of a complete one.
        """
        if outcome.state == "scored":
            self.storage.end(outcome.role, outcome.trial, state, reason, values)
            self.changed(outcome.trial, outcome.role)

    def _outcomes(self, role: TrialRole) -> list[Outcome]:
        return [outcome for outcome in self.storage.outcomes() if outcome.role == role]

    def _open(self) -> list[Outcome]:
        """The proposals that have not ended."""
        return [outcome for outcome in self._outcomes("search") if outcome.state == "scored"]
