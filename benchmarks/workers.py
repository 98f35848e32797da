"""``python -m benchmarks.workers``: the rounds of one search, in one process and in two.

The search is that of the stdlib task on a shorter text, in turn with two threads in this process
and with two single-threaded workers. What is compared is the time of the rounds: the float model is
trained before, and the sensitivity measured. Beside it stands the share of one process that is
neither training nor scoring.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from statistics import median

from autoquant.commands.search import SearchResult, search
from autoquant.settings import Search, Training
from autoquant.tasks.language import stdlib

BEFORE = ("float model", "sensitivity", "learning rate")
"""Phases that are not rounds."""
MODES = {"2 threads": (1, 2), "2 workers": (2, 1)}


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


def searched(folder: Path, workers: int, threads: int, chosen: Search) -> SearchResult:
    """One search in a new folder.

    Args:
        folder: of the study.
        workers: processes that train.
        threads: of each.
        chosen: the other settings.
    """
    changed = chosen.changed(workers=workers, threads=threads)
    return search(stdlib(tokens=100_000), changed, study=folder, progress=False)


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
    options = command_line.parse_args()
    chosen = settings(options.steps, options.trials)
    ratios = []
    with tempfile.TemporaryDirectory() as place:
        for repeat in range(options.repeats):
            seconds = {}
            for name, (workers, threads) in MODES.items():
                result = searched(Path(place) / f"{repeat}-{name}", workers, threads, chosen)
                seconds[name] = rounds_of(result)
                print(f"{name}: rounds {seconds[name]:.1f} s", flush=True)
                if workers == 1:
                    print(f"  neither training nor scoring: {other_share(result):.1%}", flush=True)
            ratios.append(seconds["2 threads"] / seconds["2 workers"])
    print(f"two workers are {median(ratios):.2f} times as fast; each repeat: {ratios}")


if __name__ == "__main__":
    main()
