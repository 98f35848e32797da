"""``python -m benchmarks.simulated_cluster``: a search with many workers that train nothing.

All of the search's own code runs: rounds, records, files, the protocol of executors, and pickling
of jobs and results. Only the workers are simulated: a training takes a random time. Their clock
goes on with the real one while the search computes, and jumps to the end of the next training when
it waits. Proposals are drawn at random, and their time is counted apart.
"""

from __future__ import annotations

import argparse
import heapq
import pickle
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil

from autoquant.progress import SILENT
from autoquant.rounds.carried_files import SentResult
from autoquant.rounds.phase_times import PhaseTimes
from autoquant.rounds.place import Place
from autoquant.rounds.recorded_jobs import RecordedJobs
from autoquant.rounds.rungs import Rung
from autoquant.rounds.search_rounds import Goal, SearchRounds
from autoquant.rounds.training_job import JobContext
from autoquant.rounds.trial_watcher import TrialWatcher
from autoquant.settings import Rounds, Search, Training
from autoquant.study.folder import Study
from autoquant.study.job import JobResult
from autoquant.study.journal import Journal
from autoquant.study.live_trials import LiveTrials
from autoquant.study.study_files import StudyFiles
from autoquant.study.trial_storage import TrialStorage
from autoquant.training.candidate import StartingPoint
from benchmarks.scale import HERE, RECORD, Drawn, parameters_of, space_of

RUNGS = {"short": 100, "medium": 400, "full": 1600}
"""Steps. Trainings continue, so that one of the medium rung does 300, not 400."""
BUDGET = 1_000_000


class Simulated(Executor):
    """Workers that wait instead of training.

    Args:
        workers: their number.
        seconds: of a training of the short rung, in the mean; the shortest takes half of it, the
            longest one and a half times.
        seed: of the times and the scores.
    """

    many_machines = True

    def __init__(self, workers: int, seconds: float, seed: int) -> None:
        self.workers, self._mean, self._seed = workers, seconds, seed
        self._jumped, self._real = 0.0, time.perf_counter()
        self._free = [0.0] * workers  # since when each free worker has been idle
        self._waiting: deque[tuple[Future[Any], bytes]] = deque()
        self._running: list[tuple[float, int, Future[Any], bytes, float]] = []
        self.tasks, self.idle, self.busy = 0, 0.0, 0.0
        self.watch: Callable[[], None] = lambda: None

    @property
    def now(self) -> float:
        """Seconds on the workers' clock."""
        return time.perf_counter() - self._real + self._jumped

    def put(self, content: bytes) -> bytes:
        """Keep bytes.

        Args:
            content: of the context.
        """
        return content

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Begin a training, or let it wait for a worker.

        Args:
            fn: what a worker would call.
            *args: its arguments, the pickled job last.
            **kwargs: none.
        """
        self.end_until(self.now)
        future: Future[Any] = Future()
        if self._free:
            now = self.now
            self.idle += now - self._free.pop()
            self._begin(now, future, args[-1])
        else:
            self._waiting.append((future, args[-1]))
        return future

    def _begin(self, now: float, future: Future[Any], job: bytes) -> None:
        future.set_running_or_notify_cancel()
        draw = random.Random(f"{self._seed} {self.tasks}")
        seconds = self._mean * (0.5 + draw.random())
        self.busy += seconds
        self.tasks += 1
        heapq.heappush(self._running, (now + seconds, self.tasks, future, job, seconds))

    def end_until(self, now: float) -> None:
        """End the trainings that have ended by a time.

        Args:
            now: on the workers' clock.
        """
        while self._running and self._running[0][0] <= now:
            self._end_next()

    def wait(self) -> None:
        """Let time pass until the next training has ended."""
        self._jumped += max(0.0, self._running[0][0] - self.now)
        self._end_next()

    def _end_next(self) -> None:
        ended, number, future, sent, seconds = heapq.heappop(self._running)
        if self._waiting:
            self._begin(ended, *self._waiting.popleft())
        else:
            self._free.append(ended)
        job = pickle.loads(sent).job
        score = random.Random(f"{self._seed} score {number}").random()
        result = JobResult(job, "complete", score, None, seconds, "", HERE, f"node-{number % 99}")
        future.set_result(pickle.loads(pickle.dumps(SentResult(result, {}))))
        self.watch()

    def close(self) -> None:
        """Count the idle time of free workers until now."""
        self.idle += sum(self.now - since for since in self._free)
        self._free = [self.now] * len(self._free)


class Ended(SimpleQueue):  # type: ignore[type-arg]
    """The queue of jobs that have ended, in which a search waits: then the workers go on.

    Args:
        workers: that are simulated.
    """

    def __init__(self, workers: Simulated) -> None:
        self.workers = workers

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next job.

        Args:
            block: as the base class has it.
            timeout: not needed: a training ends at once.
        """
        self.workers.end_until(self.workers.now)
        while self.empty():
            self.workers.wait()
        return super().get(block=False)


@dataclass
class Drawing:
    """Opens proposals that are drawn at random; counts the time apart.

    Attributes:
        storage: of the trials.
        drawn: gives points.
        plan_of: gives their plans.
        seconds: of CPU time.
    """

    storage: TrialStorage
    drawn: Drawn
    seconds: float = 0.0
    count: int = 0

    def open_next(self) -> Any:
        """Open the next one."""
        started = time.process_time()
        draw = random.Random(self.count)
        plan = self.storage.ask(self.drawn, lambda _: draw.randrange(BUDGET // 4, BUDGET))
        self.count += 1
        self.seconds += time.process_time() - started
        return plan

    def open_references(self) -> None:
        """There is none."""


@dataclass(frozen=True)
class Count:
    """What a search had used at some time.

    Attributes:
        tasks: that had ended.
        trials: that were proposed.
        cpu: seconds of the search, proposals left out.
        memory: resident bytes.
    """

    tasks: int
    trials: int
    cpu: float
    memory: int


def rungs() -> tuple[Rung, ...]:
    """Those of the search."""
    return tuple(Rung(name, steps, Training(steps=steps)) for name, steps in RUNGS.items())


class Simulation:
    """One search.

    Args:
        folder: of the study.
        trials: proposals.
        layers: of their plans, with two parameters each.
        workers: simulated ones.
        seconds: of a training, in the mean.
        seed: of everything.
    """

    def __init__(
        self, folder: Path, trials: int, layers: int, workers: int, seconds: float, seed: int
    ) -> None:
        self.trials, self.workers = trials, Simulated(workers, seconds, seed)
        space = space_of(layers)
        self.study, parameters = Study(folder), parameters_of(space)
        journal = Journal(self.study.journal_file, "minimize")
        self.storage = TrialStorage(self.study.trials_file, "minimize", parameters, journal)
        self.drawing = Drawing(self.storage, Drawn(parameters.ranges))
        self.workers.watch = self.watch
        self.sizes = dict.fromkeys(space.layers, 1000)
        self.rounds = Rounds(size=4 * workers, overlap=True, promoted=0.25)
        self.counts: list[Count] = []

    def watch(self) -> None:
        """Note what has been used, once for so many tasks."""
        if not self.counts or self.workers.tasks >= self.counts[-1].tasks + self.trials // 20:
            cpu = time.process_time() - self.drawing.seconds
            memory = psutil.Process().memory_info().rss
            self.counts.append(Count(self.workers.tasks, self.drawing.count, cpu, memory))

    def run(self) -> None:
        """Search."""
        settings = Search(rounds=self.rounds, sensitivity=0, threads=1)
        point: Any = StartingPoint(None, None, None, settings)  # type: ignore[arg-type]
        place = Place(self.study, settings, self.workers)
        times = PhaseTimes(workers=0)
        files = StudyFiles(self.study, self.storage, RECORD, (BUDGET,), None)
        live = LiveTrials(SILENT, RECORD, self.storage.outcomes, files.chosen)
        watcher = TrialWatcher(self.storage, files, live, times)
        context = JobContext(point, rungs(), self.study)
        with (
            watcher.watching(),
            RecordedJobs.opened(context, place) as jobs,
        ):
            jobs.runner._jobs._ended = Ended(self.workers)
            goal = Goal((BUDGET,), "minimize", self.sizes, RECORD.score)
            self.watch()
            SearchRounds(
                self.storage,
                self.drawing,
                jobs,
                rungs(),
                self.rounds,
                goal,
                lambda _: None,
                watcher.changed,
                times,
            ).run(self.trials)
            self.workers.close()
        self.watch()


def report(simulation: Simulation) -> list[str]:
    """Lines about a simulation that has ended.

    Args:
        simulation: to be told of.
    """
    workers, counts, drawing = simulation.workers, simulation.counts, simulation.drawing
    half = counts[len(counts) // 2]
    spans = {"first half": (counts[0], half), "second half": (half, counts[-1])}
    lines = [
        f"{workers.tasks} tasks, {drawing.count} trials, {workers.workers} workers, "
        f"{workers.now:.0f} s on their clock",
        f"  idle: {workers.idle / (workers.idle + workers.busy):.2%} of the workers' time",
        f"  a proposal: {1e3 * drawing.seconds / drawing.count:.2f} ms of CPU",
    ]
    for name, (first, last) in spans.items():
        cpu = (last.cpu - first.cpu) / (last.tasks - first.tasks)
        lines.append(f"  a task, {name}: {1e3 * cpu:.2f} ms of CPU")
    lines.append(
        f"  memory: {(counts[-1].memory - counts[0].memory) / drawing.count:.0f} bytes "
        "for each trial with its tasks"
    )
    lines += [
        f"  {path.name}: {path.stat().st_size / drawing.count:.0f} bytes per trial"
        for path in sorted(simulation.study.path.glob("*.*"))
    ]
    return lines


def main() -> None:
    """Simulate searches, and print what they cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated_cluster")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--trials", type=int, nargs="+", default=[20_000, 80_000])
    parser.add_argument("--layers", type=int, default=50, help="of the plans; default 50")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a training; default 60")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for trials in options.trials:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            sizes = options.layers, options.workers, options.seconds, options.seed
            simulation = Simulation(folder, trials, *sizes)
            simulation.run()
            print("\n".join(report(simulation)), flush=True)


if __name__ == "__main__":
    main()
