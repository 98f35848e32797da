"""SearchRounds: proposes plans in rounds and trains them on rising rungs, until one is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from autoquant.plan import Plan
from autoquant.rounds.finalists import first_and_best, front_plans, nearest_to, on_rung
from autoquant.rounds.halving import promoted
from autoquant.rounds.phase_times import PhaseTimes
from autoquant.rounds.rungs import Rung
from autoquant.rounds.trainings import Trainings
from autoquant.settings import Rounds
from autoquant.study.headroom import headroom, most_bits
from autoquant.study.job import Job, JobResult
from autoquant.study.noise import Noise, noise_of
from autoquant.study.outcome import Outcome, OutcomeState, TrialRole, loss_of
from autoquant.study.reference_name import reference_scope
from autoquant.study.selection import MIN_ERRORS
from autoquant.study.trial_storage import TrialStorage
from autoquant.task import Direction, as_loss

NOT_PROMOTED = "not among the best of its size and width on this rung"

CLEAR_GAP = 0.01
"""Share of the float model's score by which the most bits must be worse before anything is said."""

MAX_LISTED = 20
"""Trials that a line lists, at most."""

Ended = Callable[[Job, JobResult], None]
"""Called with a job and its result as it ends."""


class Jobs(Protocol):
    """Runs jobs; see ``RecordedJobs``."""

    def start(self, jobs: Sequence[Job], on_result: Ended) -> Any:
        """Start a batch of jobs, beside those that run."""

    def wait(self, batch: Any) -> None:
        """Wait for a batch; meanwhile results of other batches come too."""


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
        jobs: runs jobs.
        rungs: of the search, the shortest first.
        rounds: settings.
        goal: what plans are compared by.
        say: prints a line for the user.
        changed: called when the trials have changed.
        times: gets the times of the phases, and is told how many trainings there are.
    """

    def __init__(
        self,
        storage: TrialStorage,
        proposer: Proposer,
        jobs: Jobs,
        rungs: tuple[Rung, ...],
        rounds: Rounds,
        goal: Goal,
        say: Callable[[str], None],
        changed: Callable[[str, TrialRole], None],
        times: PhaseTimes | None = None,
    ) -> None:
        self.storage, self.proposer, self.rungs, self.rounds = storage, proposer, rungs, rounds
        self.goal, self.say, self.changed = goal, say, changed
        self.jobs = jobs
        self.times = times or PhaseTimes()

    def run(self, trials: int) -> None:
        """Propose, train and compare plans until every trial has ended.

        Args:
            trials: number of proposals.
        """
        with self.times.phase("references"):
            self._train_references()
        with self.times.phase("proposals on the short rung"):
            self._propose(trials)
        compared = [rung for rung in self.rungs if rung.name != "full"]
        for lower, upper in pairwise(compared):
            with self.times.phase(f"{upper.name} rung"):
                self._promote(lower, upper)
        with self.times.phase(f"finalists on the {self.rungs[-1].name} rung"):
            self._finish(compared[-1])

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
                self._end(outcome, "complete")

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
                f"{self.rungs[0].steps} steps, against {self.goal.float_score:.5g} in float (both "
                "on the valid split): the training does not suit; try qat.lr=auto final.lr=auto, "
                f"or more qat.steps (qat.lr is {self.rungs[0].training.learning_rate:g})"
            )

    def _propose(self, trials: int) -> None:
        """Propose and train plans on the short rung, in rounds.

        With ``rounds.overlap`` the scores of a round are recorded when the next one is proposed: so
        proposals do not depend on which of them came early.

        Args:
            trials: number of proposals.
        """
        running: Trainings | None = None
        while True:
            asked = len(self._outcomes("search"))
            begun = running is None and bool(self._missing())
            if not begun and (asked >= trials or self._nothing_to_gain(asked)):
                break
            size = self.rounds.size
            end = min(trials, math.ceil((asked + (not begun)) / size) * size)
            before = asked
            while asked < end and self.proposer.open_next() is not None:
                asked += 1
            if not begun and asked == before:
                self.say("every plan of the space that fits the budget has been tried")
                break
            running = self._train_round(running, trials - asked)
        if running is not None:
            self._complete(running)

    def _train_round(self, running: Trainings | None, more: int) -> Trainings | None:
        """Train what is proposed.

        Args:
            running: the round before, which is still trained; it is waited for.
            more: trainings that may follow in this phase.

        Returns:
            the last round, in progress, where rounds overlap; else None.
        """
        rung, size = self.rungs[0], self.rounds.size
        if not self.rounds.overlap:
            self._train(self._open(), rung, self._repeats(), more=more)
            return None
        proposed = self._outcomes("search")
        last = {o.trial for o in proposed[(len(proposed) - 1) // size * size :]}
        if running is None:  # an earlier call may have left trainings of the round before
            left = [o for o in self._open() if o.trial not in last]
            running = self._start(left, rung, self._repeats(), held=True)
        new = [o for o in self._open() if o.trial in last]
        more += len(running.jobs) - running.ended
        started = self._start(new, rung, self._repeats(), held=True, more=more)
        self._complete(running)
        return started

    def _missing(self) -> dict[Job, Outcome]:
        """The jobs that open proposals lack on the short rung."""
        return self._jobs(self._open(), self.rungs[0], self._repeats())

    def _repeats(self) -> dict[str, int]:
        """Number of data orders of the first proposal of each budget, by trial."""
        return dict.fromkeys(self._firsts(), self.rounds.orders)

    def _firsts(self) -> list[str]:
        """The first proposal of each budget."""
        return [o.trial for o in self._outcomes("search")[: len(self.goal.budgets)]]

    def _promote(self, lower: Rung, upper: Rung) -> None:
        """Train the best plans of a rung on the next one, and end the others.

        Plans are compared with all that have a score on the rung, ended ones too: what a search
        that was stopped in between goes on with is then what it would have gone on with.

        Args:
            lower: on which all open plans have a score.
            upper: the next one.
        """
        goal = self.goal
        known = on_rung(self._outcomes("search"), lower.steps)
        kept = promoted(known, goal.budgets, goal.direction, self.rounds.promoted, goal.sizes)
        names = {*(o.trial for o in kept), *self._firsts()}
        open_trials = self._open()
        for outcome in open_trials:
            if outcome.trial not in names and outcome.steps == lower.steps:
                self._end(outcome, "pruned", NOT_PROMOTED)
        going_on = [o for o in self._open() if o.trial in names]
        self._say_who_goes_on(going_on, len(open_trials), upper)
        self._train(going_on, upper, {})

    def _finish(self, compared: Rung) -> None:
        """Train the best plans on the last rung, the finalists repeatedly, and end all trials.

        Args:
            compared: the rung that the plans of the last one are chosen on.
        """
        last = self.rungs[-1]
        known = on_rung(self._outcomes("search"), compared.steps)
        best = front_plans(known, self.goal.budgets, self.goal.direction)
        names = {o.trial for o in best} | self._finalists(known)
        open_trials = self._open()
        going_on = [o for o in open_trials if o.trial in names]
        self._say_who_goes_on(going_on, len(open_trials), last)
        self._train(going_on, last, {})
        # The last rung chooses the finalists: it is closer to the full training than the others.
        finalists = self._finalists(on_rung(self._outcomes("search"), last.steps))
        orders = dict.fromkeys(finalists, self.rounds.orders)
        self._train([o for o in self._open() if o.trial in finalists], last, orders)
        for outcome in self._open():
            if outcome.trial in names and outcome.score is not None:
                self._end(outcome, "complete")
            else:
                self._end(outcome, "pruned", NOT_PROMOTED)

    def _say_who_goes_on(self, going_on: Sequence[Outcome], count: int, rung: Rung) -> None:
        """Say which trials are trained on the next rung, if there is something to train.

        Args:
            going_on: the trials.
            count: of the trials that were open.
            rung: the next one.
        """
        if self._jobs(going_on, rung, {}):
            names = ", ".join(o.trial for o in going_on[:MAX_LISTED])
            rest = ", ..." if len(going_on) > MAX_LISTED else ""
            who = f"{len(going_on)} of {count} trials go on to {rung.steps} steps"
            self.say(f"{who}: {names}{rest}")

    def _finalists(self, known: Sequence[Outcome]) -> set[str]:
        """Names of the plans that are compared at the end, for all budgets.

        Args:
            known: plans on one rung.
        """
        budgets = self.goal.budgets
        return {o.trial for budget in budgets for o in self._finalists_within(known, budget)}

    def _finalists_within(self, known: Sequence[Outcome], budget: int) -> list[Outcome]:
        """The plans that are compared at the end for one budget.

        Args:
            known: plans on one rung.
            budget: in bytes.
        """
        fitting = [o for o in known if o.size_bytes <= budget]
        count, direction = self.rounds.finalists, self.goal.direction
        if self.goal.bound is not None:
            return nearest_to(self.goal.bound, fitting, count, direction)
        return first_and_best(self._firsts(), fitting, count, direction)

    # --- comparing -------------------------------------------------------------------------------

    def noise(self) -> Noise:
        """The noise on the short rung."""
        return noise_of(self._outcomes("reference") + self._outcomes("search"), self.rungs[0].steps)

    def _nothing_to_gain(self, asked: int) -> bool:
        """Whether the first plan of each budget is level with the most bits everywhere.

        Args:
            asked: number of proposals so far.
        """
        outcomes = self.storage.outcomes()
        most, count = most_bits(outcomes), len(self.goal.budgets)
        if asked < max(self.rounds.size, count) or most is None or self.goal.bound is not None:
            return False
        firsts = self._outcomes("search")[:count]
        gaps = [headroom(outcomes, first, self.goal.direction) for first in firsts]
        known = [gap for gap in gaps if gap is not None]
        if not known or len(known) < len(gaps) or any(gap.exceeds(MIN_ERRORS) for gap in known):
            return False
        largest = max(known, key=lambda gap: gap.value)
        self.say(
            f"nothing can be gained by more proposals: the first plan's loss is "
            f"{largest.value:+.3g} (standard error {largest.error:.2g}) against "
            f"{reference_scope(most)}"
        )
        return True

    # --- training --------------------------------------------------------------------------------

    def _jobs(
        self, outcomes: Iterable[Outcome], rung: Rung, orders: Mapping[str, int]
    ) -> dict[Job, Outcome]:
        """The jobs that open trials lack on a rung, with their trials.

        Args:
            outcomes: of the trials; ended ones have no jobs.
            rung: that they are trained on.
            orders: number of data orders by trial, where it is not 1.
        """
        jobs: dict[Job, Outcome] = {}
        for outcome in outcomes:
            known = outcome.by_order(rung.steps)
            for order in range(orders.get(outcome.trial, 1)):
                if outcome.state == "scored" and order not in known:
                    label = f"trial {outcome.trial}" + (f", data order {order}" if order else "")
                    jobs[Job(outcome.plan, rung.steps, order, label)] = outcome
        return jobs

    def _train(
        self,
        outcomes: Iterable[Outcome],
        rung: Rung,
        orders: Mapping[str, int],
        more: int = 0,
    ) -> None:
        """Run the jobs of some trials on a rung, and record their scores.

        Args:
            outcomes: of the trials.
            rung: that they are trained on.
            orders: number of data orders by trial, where it is not 1.
            more: trainings that may follow in this phase.
        """
        self._complete(self._start(outcomes, rung, orders, more=more))

    def _start(
        self,
        outcomes: Iterable[Outcome],
        rung: Rung,
        orders: Mapping[str, int],
        *,
        more: int = 0,
        held: bool = False,
    ) -> Trainings:
        """Start the jobs of some trials on a rung.

        Args:
            outcomes: of the trials.
            rung: that they are trained on.
            orders: number of data orders by trial, where it is not 1.
            more: trainings that may follow in this phase.
            held: whether scores are kept back until the trainings are completed.

        Returns:
            the trainings, to be completed.
        """
        trainings = Trainings(self._jobs(outcomes, rung, orders), self._record, held)
        if trainings.jobs:
            self.times.expect(len(trainings.jobs) + more)
        trainings.batch = self.jobs.start([*trainings.jobs], partial(self._ended, trainings))
        return trainings

    def _ended(self, trainings: Trainings, job: Job, result: JobResult) -> None:
        """Take the result of a job, and count it.

        Args:
            trainings: of the job.
            job: that has ended.
            result: of the job.
        """
        self.times.ended(result.seconds)
        trainings.add(job, result)

    def _complete(self, trainings: Trainings) -> None:
        """Record the scores of trainings, and wait for those that have not ended.

        A trial ends with its first job without a score, but only after all other jobs: then its
        scores do not depend on the order in which jobs end.

        Args:
            trainings: that were started.
        """
        trainings.release()
        self.jobs.wait(trainings.batch)
        for job, result in trainings.failures():
            state: OutcomeState = "failed" if result.state == "complete" else result.state
            self._end(self._now(trainings.jobs[job]), state, result.reason)

    def _record(self, outcome: Outcome, result: JobResult) -> None:
        """Record the score of a training.

        Args:
            outcome: of its trial.
            result: with a score.
        """
        job = result.job
        assert result.score is not None
        score = (job.steps, job.order, result.score)
        self.storage.add_score(outcome.role, outcome.trial, score, result.seconds)
        self.changed(outcome.trial, outcome.role)

    def _now(self, outcome: Outcome) -> Outcome:
        """A trial as it is by now."""
        return self.storage.outcome(outcome.role, outcome.trial)

    def _end(self, outcome: Outcome, state: OutcomeState, reason: str = "") -> None:
        """Close a trial that is open.

        Args:
            outcome: of the trial.
            state: how it ended.
            reason: why it did not complete.
        """
        if outcome.state == "scored":
            self.storage.end(outcome.role, outcome.trial, state, reason)
            self.changed(outcome.trial, outcome.role)

    def _outcomes(self, role: TrialRole) -> list[Outcome]:
        return self.storage.outcomes(role)

    def _open(self) -> list[Outcome]:
        """The proposals that have not ended."""
        return [outcome for outcome in self._outcomes("search") if outcome.state == "scored"]
