"""A search whose jobs are computed instead of trained: a real space, storage and sampler."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from autoquant.costs.limit import limits_of
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.rounds.rungs import Rung
from autoquant.rounds.search_rounds import Ended, Goal, SearchRounds
from autoquant.samplers.proposer import Proposer
from autoquant.samplers.ranges import parameters_of
from autoquant.samplers.size_targets import SizeTargets
from autoquant.samplers.strategy import Strategy
from autoquant.settings import Rounds, Search, Space, Training
from autoquant.space.search_space import SearchSpace, build_space
from autoquant.study.job import Job, JobResult
from autoquant.study.outcome import Outcome, TrialRole
from autoquant.study.trial_storage import TrialStorage
from tests.toys import language_model, prepared

BUDGETS = (1100, 900)
"""Bytes; the smallest plan has 739, the uniform one of 8 bits 1,180."""
SHORT, MEDIUM, FULL = (
    Rung("short", 10, Training(steps=10)),
    Rung("medium", 40, Training(steps=10)),
    Rung("full", 100, Training(steps=100)),
)
SETTINGS = Search(
    budget=tuple(f"{size}B" for size in BUDGETS),
    trials=6,
    references=(8, 2),
    rounds=Rounds(size=3, orders=3),
    space=Space(weight_bits=(1, 2, 4, 8), activation_bits=(4, 8), width=(1.0, 1.5)),
)


class Stopped(Exception):
    """The search is stopped before a job."""


@cache
def network() -> Network:
    _, found = prepared(language_model(10, 4, 8, layers=1))
    return found


@cache
def space() -> SearchSpace:
    return build_space(network(), ("rnn.l0",), SETTINGS.space, {})


def noise(*words: Any) -> float:
    """A number in [-1, 1) that follows from some words."""
    digest = hashlib.sha256(repr(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**31 - 1


def score_of(plan: Plan, steps: int, order: int, spread: float = 0.002) -> float:
    """A made-up loss: rounding errors of bits, training helps, data orders are noise.

    Args:
        plan: of the training.
        steps: of the rung.
        order: of the data.
        spread: of the noise.
    """
    bits = sum(4.0**-choice.weight_bits / choice.width for choice in plan.choices.values())
    return 1 + bits * (1 + 10 / steps) + 1 / steps + spread * noise(plan.digest, steps, order)


@dataclass
class Jobs:
    """Runs jobs by computing their scores; keeps the results, as the log of a study does.

    Attributes:
        stop: number of jobs after which a search is stopped, counted over all calls.
        reverse: whether the jobs of a batch end in reverse order.
        failures: (trial label) -> reason of its failure.
        scored: gives the scores.
        workers: gives the number of jobs that end in a call of ``start`` or in a turn of ``wait``,
            which are any of those that are in progress; None: all jobs end as they are started.
        run: jobs that were computed, in order.
        known: results by job.
    """

    stop: int | None = None
    reverse: bool = False
    failures: dict[str, str] = field(default_factory=dict)
    scored: Callable[[Plan, int, int], float] = score_of
    workers: random.Random | None = None
    run: list[Job] = field(default_factory=list)
    known: dict[Job, JobResult] = field(default_factory=dict)
    _waiting: list[tuple[Job, Ended]] = field(default_factory=list)

    def start(self, jobs: Sequence[Job], on_result: Ended) -> list[Job]:
        for job in jobs:
            if job in self.known:
                on_result(job, self.known[job])
        missing = [job for job in jobs if job not in self.known]
        self._waiting += [(job, on_result) for job in missing]
        if self.workers is not None:
            self._end(self.workers.randrange(len(self._waiting) + 1))
        else:
            self._end(len(missing))
        return missing

    def wait(self, batch: list[Job]) -> None:
        while any(job not in self.known for job in batch):
            self._end(1)

    def _end(self, count: int) -> None:
        """Compute some of the jobs that are in progress."""
        for _ in range(count):
            if len(self.run) == self.stop:
                self._waiting.clear()
                raise Stopped
            which = -1 if self.reverse else 0
            if self.workers is not None:
                which = self.workers.randrange(len(self._waiting))
            job, on_result = self._waiting.pop(which)
            self.run.append(job)
            if job.label in self.failures:
                self.known[job] = JobResult(job, "diverged", reason=self.failures[job.label])
            else:
                score = self.scored(job.plan, job.steps, job.order)
                self.known[job] = JobResult(job, "complete", score)
            on_result(job, self.known[job])


@dataclass
class Sample:
    """A search in a folder; each ``search`` opens it as a new process would.

    Attributes:
        folder: of the log of trials.
        jobs: of the search.
        settings: of the search.
        rungs: of the search.
        bound: the largest accepted loss, or None.
        said: lines for the user.
        told: (trial, state) of each change of a trial.
    """

    folder: Path
    jobs: Jobs = field(default_factory=Jobs)
    settings: Search = SETTINGS
    rungs: tuple[Rung, ...] = (SHORT, MEDIUM, FULL)
    bound: float | None = None
    said: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    def storage(self) -> TrialStorage:
        return TrialStorage(self.folder / "trials.jsonl", "minimize", parameters_of(space()))

    def search(self, trials: int | None = None, **changes: Any) -> list[Outcome]:
        """Run the search; its outcomes, without times.

        Args:
            trials: other than those of the settings.
            **changes: of the settings.
        """
        settings = self.settings.changed(**changes) if changes else self.settings
        storage = self.storage()
        limits = limits_of(
            settings.changed(budget=f"{BUDGETS[0]}B"), network(), float_bytes=4000, parameters=1000
        )
        targets = SizeTargets(BUDGETS, 739, settings.rounds.spread)
        sampler = Strategy(settings, space(), limits, targets).sampler(None)
        goal = Goal(BUDGETS, "minimize", dict.fromkeys(network().names, 1), 1.0, self.bound)

        def changed(name: str, role: TrialRole) -> None:
            self.told.append((name, storage.outcome(role, name).state))

        SearchRounds(
            storage,
            Proposer(storage, sampler, space(), network(), settings),
            self.jobs,
            self.rungs,
            settings.rounds,
            goal,
            self.said.append,
            changed,
        ).run(settings.trials if trials is None else trials)
        return [replace(outcome, seconds=0.0) for outcome in storage.outcomes()]
