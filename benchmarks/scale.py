"""``python -m benchmarks.scale``: CPU time and memory of what a search records.

Nothing is trained. Plans of ``--layers`` layers are drawn, with bits of weights and of
activations; every trial gets a score on the short rung, one of AGAIN another one, and all end. Time
is that of the process. Memory is what tracemalloc counts, in a second run.
"""

from __future__ import annotations

import argparse
import gc
import random
import tempfile
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from autoquant.plan import Plan
from autoquant.progress import SILENT
from autoquant.samplers.ranges import parameters_of
from autoquant.space.search_space import Dimension, SearchSpace
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.environment import Environment
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.study.job_log import JobLog
from autoquant.study.journal import Journal
from autoquant.study.live_trials import LiveTrials
from autoquant.study.outcome import Outcome, write_csv
from autoquant.study.trial_storage import TrialStorage

CHOICES = {"weight_bits": (1, 2, 3, 4, 5, 6, 7, 8), "activation_bits": (4, 6, 8, 16)}
SHORT, LONG = 100, 400
"""Steps of the rungs."""
AGAIN = 4
"""One of so many trials has a score on the long rung."""
ASKED = 50
"""Proposals that are asked for when all trials are there."""
HERE = Environment(1, "AVX512+avx512", "cpu", "2.13.0")
RECORD = BaselineRecord(20.5, 1_000_000, 250_000, "loss", "minimize", 60, 12.5)


def space_of(layers: int) -> SearchSpace:
    """A space with two dimensions for each layer.

    Args:
        layers: their number.
    """
    names = tuple(f"encoder.layers.{i}.linear" for i in range(layers))
    dimensions = (Dimension(n, f, c) for n in names for f, c in CHOICES.items())
    return SearchSpace(tuple(dimensions), names, {name: name for name in names})


class Drawn(RandomSampler):
    """Draws points at once; a sampler of Optuna draws each parameter by itself.

    Args:
        ranges: of the parameters.
    """

    def __init__(self, ranges: Mapping[str, BaseDistribution]) -> None:
        super().__init__(seed=0)
        self._ranges, self._random = dict(ranges), random.Random(0)

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters.

        Args:
            study: of the trial.
            trial: that is sampled.
        """
        return self._ranges

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point.

        Args:
            study: of the trial.
            trial: that is sampled.
            search_space: all parameters.
        """
        return dict(zip(search_space, self.point(), strict=True))

    def point(self) -> tuple[int, ...]:
        """The indices of the next point."""
        return tuple(self._random.randrange(4) for _ in self._ranges)


@dataclass
class Recording:
    """The records of a search whose trainings take no time.

    Attributes:
        folder: of the study, new.
        layers: of the plans.
        seconds: of CPU time, by what was done.
        counts: how often it was done.
    """

    folder: Path
    layers: int
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space = space_of(self.layers)
        self.parameters, self.study = parameters_of(self.space), Study(self.folder)
        self.drawn = Drawn(self.parameters.ranges)
        self.opened()

    def opened(self) -> None:
        """Open the records, as a new process does."""
        self.log = JobLog.of(self.study)
        journal = Journal(self.study.journal_file, "minimize")
        path = self.study.trials_file
        self.storage = TrialStorage(path, "minimize", self.parameters, journal)
        self.live = LiveTrials(SILENT, RECORD, self.storage.outcomes, lambda _: [])

    def timed(self, name: str, action: Callable[[], Any], count: int = 1) -> Any:
        """Add the CPU time of something to the records.

        Args:
            name: of it.
            action: does it.
            count: how often it does it.
        """
        started = process_time()
        result = action()
        self.seconds[name] = self.seconds.get(name, 0.0) + process_time() - started
        self.counts[name] = self.counts.get(name, 0) + count
        return result

    def score(self, name: str, plan: Plan, steps: int) -> None:
        """Record a training, as a search does when it has ended.

        Args:
            name: of the trial.
            plan: of the trial.
            steps: of the training.
        """
        value = random.Random(f"{name} {steps}").random()
        result = JobResult(Job(plan, steps), "complete", value, seconds=9.5, environment=HERE)
        self.timed("line of jobs.csv", partial(self.log.append, result))
        add = partial(self.storage.add_score, "search", name, (steps, 0, value), 9.5)
        self.timed("score", add)
        outcome = self.storage.outcome("search", name)
        self.timed("shown", partial(self.live.changed, outcome, "1 of 2 trainings"))

    def search(self, trials: int) -> None:
        """Open, score and end trials, then ask for some more.

        Args:
            trials: their number.
        """
        for number in range(trials):
            plan = self.space.plan(self.drawn.point())
            outcome = Outcome(str(number), "search", plan, 12_345, "scored")
            self.timed("trial opened", partial(self.storage.restore, outcome))
            self.score(str(number), plan, SHORT)
            if number % AGAIN == 0:
                self.score(str(number), plan, LONG)
        for number in range(trials):
            state = "pruned" if number % AGAIN else "complete"
            end = partial(self.storage.end, "search", str(number), state, "not among the best")
            self.timed("end", end)
        ask = partial(self.storage.ask, self.drawn, lambda _: 12_345)
        self.timed("trial of the study in memory", ask, trials)
        self.timed("ask", lambda: [ask() for _ in range(ASKED)], ASKED)

    def write(self, trials: int) -> None:
        """Write the study's files.

        Args:
            trials: their number.
        """
        self.timed("trial in the journal", self.storage.write_journal, trials)
        self.timed("row of outcomes.csv", self.write_table, trials)

    def write_table(self) -> None:
        """Write outcomes.csv."""
        with self.study.outcomes_file.open("w", encoding="utf-8", newline="") as file:
            write_csv(file, self.storage.outcomes(), RECORD.size_bytes)


def measure(trials: int, layers: int) -> list[str]:
    """Lines about a number of trials.

    Args:
        trials: their number.
        layers: of their plans.
    """
    lines = [f"{trials} trials, {2 * layers} parameters:"]
    with tempfile.TemporaryDirectory() as place:
        recording = Recording(Path(place), layers)
        recording.search(trials)
        recording.write(trials)
        tasks = recording.counts["score"]
        recording.timed("trial opened again", recording.opened, trials)
        recording.timed("job opened again", lambda: JobLog.of(recording.study), tasks)
        for name, seconds in recording.seconds.items():
            lines.append(f"  {name}: {1e3 * seconds / recording.counts[name]:.3f} ms")
        lines += [
            f"  {path.name}: {path.stat().st_size / trials:.0f} bytes per trial"
            for path in sorted(Path(place).iterdir())
        ]
    with tempfile.TemporaryDirectory() as place:
        lines += memory(Path(place), trials, layers)
    return lines


def memory(folder: Path, trials: int, layers: int) -> Sequence[str]:
    """Lines about the memory of trials and tasks.

    Args:
        folder: of a study, new.
        trials: their number.
        layers: of their plans.
    """
    recording = Recording(folder, layers)
    tracemalloc.start()
    try:
        recording.search(trials)
        gc.collect()
        both = tracemalloc.get_traced_memory()[0]
        tasks, recording.log = len(recording.log), JobLog(folder / "none.csv")
        gc.collect()
        rest = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    of_task, of_trial = (both - rest) / tasks, rest / trials
    return [f"  memory: {of_task:.0f} bytes per task, {of_trial:.0f} per trial"]


def main() -> None:
    """Print the costs for each number of trials."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--layers", type=int, default=50, help="of the plans; default 50")
    options = parser.parse_args()
    for trials in options.trials:
        print("\n".join(measure(trials, options.layers)), flush=True)


if __name__ == "__main__":
    main()
