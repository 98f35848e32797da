"""``python -m benchmarks.proposals``: CPU time of a proposal, by sampler and number of trials.

Nothing is trained. The model has ``--layers`` linear layers, of which every plan chooses bits and
widths; trials before the measured ones have drawn plans and drawn scores. The first proposal after
them is counted apart: it is when Optuna's study, in memory, gets all trials.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import process_time

import torch
from optuna.samplers import BaseSampler
from torch import nn

import autoquant as aq
from autoquant.analysis.model_info import inspect_search
from autoquant.rounds.search_limits import search_limits, target_sizes
from autoquant.samplers.ranges import parameters_of
from autoquant.samplers.strategy import Strategy
from autoquant.settings import Search
from autoquant.space.search_space import SearchSpace
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome
from autoquant.study.trial_storage import TrialStorage

ASKED = 5
"""Proposals whose median is told."""
UNITS = (32, 48, 64, 96)
"""Widths of the layers, in turn."""


def task_of(layers: int) -> aq.SupervisedTask:
    """A task whose model has many layers.

    Args:
        layers: their number.
    """
    sizes = [UNITS[i % len(UNITS)] for i in range(layers + 1)]
    linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    model = nn.Sequential(*(part for each in linear for part in (each, nn.ReLU())))
    data = torch.randn(64, sizes[0]), torch.randint(sizes[-1], (64,))
    return aq.SupervisedTask(model, data, data, data)


class Proposing:
    """A search that proposes.

    Args:
        folder: of the study, new.
        layers: of the model.
        sampler: its name.
    """

    def __init__(self, folder: Path, layers: int, sampler: str) -> None:
        settings, study = Search(budget="0.12x", sampler=sampler), Study(folder)
        info = inspect_search(task_of(layers), settings, study)
        limits = search_limits(info, settings)
        targets = target_sizes(info, settings, limits)
        self.space: SearchSpace = info.space
        self.sampler: BaseSampler = Strategy(settings, info.space, limits, targets).sampler(None)
        self.storage = TrialStorage(study.trials_file, "minimize", parameters_of(info.space))
        self.random = random.Random(0)

    def score(self, name: str) -> None:
        """Give a trial a drawn score.

        Args:
            name: of the trial.
        """
        self.storage.add_score("search", name, (100, 0, self.random.random()), 1.0)

    def fill(self, trials: int) -> None:
        """Add trials with drawn plans and scores, which have ended.

        Args:
            trials: their number.
        """
        for number in range(trials):
            point = tuple(self.random.randrange(len(d.choices)) for d in self.space.dimensions)
            plan = self.space.plan(point)
            self.storage.restore(Outcome(str(number), "search", plan, 12_345, "scored"))
            self.score(str(number))
            self.storage.end("search", str(number), "pruned", "not among the best")

    def ask(self) -> float:
        """CPU seconds of a proposal, which then gets a score."""
        started = process_time()
        self.storage.ask(self.sampler, lambda plan: 12_345)
        seconds = process_time() - started
        self.score(self.storage.outcomes("search")[-1].trial)
        return seconds


def main() -> None:
    """Print the times for each sampler and number of trials."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proposals", description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--layers", type=int, default=50)
    parser.add_argument("--samplers", nargs="+", default=["program", "random", "tpe", "nsga2"])
    options = parser.parse_args()
    torch.manual_seed(0)
    for sampler in options.samplers:
        for trials in options.trials:
            with tempfile.TemporaryDirectory() as place:
                search = Proposing(Path(place), options.layers, sampler)
                search.fill(trials)
                first, others = search.ask(), [search.ask() for _ in range(ASKED)]
            spread = f"{min(others):.3f} to {max(others):.3f}"
            text = f"{median(others):.3f} s ({spread}), the first one {first:.3f} s"
            print(f"{sampler}, {trials} trials: {text}", flush=True)


if __name__ == "__main__":
    main()
