"""``python -m benchmarks.workers``: the rounds of one search, in one process, in two, and on Ray.

The search is that of the stdlib task on a shorter text, in turn with one and two threads in this
process, with two single-threaded workers, and with ``--ray`` as one and two tasks at the same time
of a Ray cluster on this machine. What is compared is the time of the rounds: the float model is
trained before, and the sensitivity measured. Beside it stands the share of one process that is
neither training nor scoring.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from autoquant.commands.search import SearchResult, search
from autoquant.settings import Cluster, Search, Training
from autoquant.tasks.language import stdlib

BEFORE = ("float model", "sensitivity", "learning rate")
"""Phases that are not rounds."""
MODES = {"1 thread": (1, 1), "2 threads": (1, 2), "2 workers": (2, 1)}
"""Processes that train, and threads of each."""
ON_RAY = {"1 task on Ray": 2, "2 tasks on Ray": 1}
"""CPUs of each task, on a cluster with two."""


def settings(steps: int, trials: int) -> Search:
    """Those of the search.

    Args:
        steps: of the short rung.
        trials: proposals.
    """
    training = Training(steps=steps, lr=1e-3, schedule="constant")
    return Search(
        trials=trials,
        device="cpu",
        baseline=Training(steps=200, lr=4e-3),
        qat=training,
        final=training.changed(steps=8 * steps),
    )


def modes(chosen: Search, address: str) -> dict[str, Search]:
    """The settings of each way to run the search.

    Args:
        chosen: the others.
        address: of a Ray cluster; empty for none.
    """
    found = {
        name: chosen.changed(workers=workers, threads=threads)
        for name, (workers, threads) in MODES.items()
    }
    for name, cpus in ON_RAY.items() if address else ():
        cluster = Cluster(engine="ray", address=address, cpus=cpus)
        found[name] = chosen.changed(threads=1, cluster=cluster)
    return found


def searched(folder: Path, chosen: Search) -> SearchResult:
    """One search in a new folder.

    Args:
        folder: of the study.
        chosen: its settings.
    """
    return search(stdlib(tokens=100_000), chosen, study=folder, progress=False)


@contextmanager
def cluster(wanted: bool) -> Iterator[str]:
    """A Ray cluster of one node with two CPUs.

    Args:
        wanted: whether there is to be one.

    Yields:
        its address; empty where there is none.
    """
    if not wanted:
        yield ""
        return
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        yield nodes.address
    finally:
        nodes.shutdown()


def rounds_of(result: SearchResult) -> float:
    """Seconds of the rounds.

    Args:
        result: of a search.
    """
    return sum(seconds for name, seconds in result.seconds.items() if name not in BEFORE)


def other_share(result: SearchResult) -> float:
    """Share of the rounds of one process in which nothing is trained or scored.

    Args:
        result: of a search with one worker.
    """
    with result.study.jobs_file.open(newline="", encoding="utf-8") as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    return 1 - seconds / rounds_of(result)


def main() -> None:
    """Search, and print the seconds and their ratio."""
    command_line = argparse.ArgumentParser(prog="python -m benchmarks.workers")
    command_line.add_argument("--repeats", type=int, default=3)
    command_line.add_argument("--steps", type=int, default=40, help="of the short rung")
    command_line.add_argument("--trials", type=int, default=8)
    command_line.add_argument("--ray", action="store_true", help="on a Ray cluster too")
    options = command_line.parse_args()
    chosen = settings(options.steps, options.trials)
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, cluster(options.ray) as address:
        for repeat in range(options.repeats):
            seconds = {}
            for name, changed in modes(chosen, address).items():
                result = searched(Path(place) / f"{repeat}-{name}", changed)
                seconds[name] = rounds_of(result)
                print(f"{name}: rounds {seconds[name]:.1f} s", flush=True)
                if name in MODES and changed.workers == 1:
                    print(f"  neither training nor scoring: {other_share(result):.1%}", flush=True)
            for name, took in seconds.items():
                ratios.setdefault(name, []).append(seconds["1 thread"] / took)
    for name, each in ratios.items():
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name}: {median(each):.2f} times as fast as 1 thread ({spread})")


if __name__ == "__main__":
    main()
