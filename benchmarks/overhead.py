"""``python -m benchmarks.overhead``: the share of a search that is neither training nor scoring.

The network is a residual one of linear layers, 16 proposals are trained for 100 steps each. The
time inside the training loop and the scoring function is taken from the wall-clock time of the
whole search; the rest is describing, planning, measuring the sensitivity, building candidates,
calibrating, and writing the study. torch's compiler, which torch imports when the first optimizer
is made (about 4 s), is imported before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from autoquant.commands.search import search
from autoquant.settings import Search, Training
from autoquant.tasks.supervised import SupervisedTask

FEATURES, CLASSES, SAMPLES, BATCH = 96, 10, 8000, 256
TIMED = (
    "autoquant.training.candidate.train",
    "autoquant.training.candidate.score",
    "autoquant.training.baseline.train",
    "autoquant.training.baseline.score",
)


class Residual(nn.Module):
    """A residual network of linear layers.

    Args:
        layers: their number, the first and the last one included.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES)
        self.blocks = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(layers - 2))
        self.last = nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [N, CLASSES].

        Args:
            inputs: [N, FEATURES].
        """
        values = self.first(inputs)
        for block in self.blocks:
            values = values + 0.3 * block(values).relu()
        return self.last(values)


class Clock:
    """Seconds inside some functions, each counted once.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds, self._inside = 0.0, False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time counted unless another one of this clock calls it.

        Args:
            function: any.
        """

        def call(*args: Any, **options: Any) -> Any:
            if self._inside:
                return function(*args, **options)
            self._inside, started = True, time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.perf_counter() - started
                self._inside = False

        return call

    @contextmanager
    def counting(self, *names: str) -> Iterator[None]:
        """Count the time of functions within the block.

        Args:
            *names: import paths of the functions, as their callers name them.
        """
        with ExitStack() as stack:
            for name in names:
                module, _, function = name.rpartition(".")
                found = getattr(__import__(module, fromlist=[function]), function)
                stack.enter_context(patch(name, self.timed(found)))
            yield


def task_of(layers: int) -> SupervisedTask:
    """Random classes: only the time matters.

    Args:
        layers: of the network.
    """
    torch.manual_seed(0)
    data = torch.randn(SAMPLES, FEATURES), torch.randint(CLASSES, (SAMPLES,))
    held_out = data[0][:1000], data[1][:1000]
    return SupervisedTask(Residual(layers), data, held_out, held_out, batch_size=BATCH)


def other_share(layers: int, steps: int, trials: int, folder: Path) -> tuple[float, float]:
    """Share of a search that is neither training nor scoring, and its seconds.

    Args:
        layers: of the network.
        steps: of the short rung.
        trials: proposals.
        folder: of the study, new.
    """
    training, clock = Training(steps=steps, lr=1e-3), Clock()
    settings = Search(
        budget="0.15x",
        trials=trials,
        device="cpu",
        threads=1,
        qat=training,
        final=training.changed(steps=4 * steps),
    )
    task = task_of(layers)
    torch.optim.SGD(task.build_model().parameters())
    started = time.perf_counter()
    with clock.counting(*TIMED):
        found = search(task, settings, study=folder, progress=False)
    seconds = time.perf_counter() - started
    print({name: round(value, 1) for name, value in found.seconds.items()}, flush=True)
    return 1 - clock.seconds / seconds, seconds


def main() -> None:
    """Search with 10 and 100 layers, and print the shares."""
    command_line = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    command_line.add_argument("--layers", type=int, nargs="+", default=[10, 100])
    command_line.add_argument("--steps", type=int, default=100, help="of the short rung")
    command_line.add_argument("--trials", type=int, default=16)
    options = command_line.parse_args()
    for layers in options.layers:
        with tempfile.TemporaryDirectory() as place:
            share, seconds = other_share(
                layers, options.steps, options.trials, Path(place) / "study"
            )
        print(f"{layers} layers: {share:.1%} of {seconds:.0f} s is neither training nor scoring")


if __name__ == "__main__":
    main()
