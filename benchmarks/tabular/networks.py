"""The three networks of the recorded benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoquant.settings import Rules, Search, Space, Training, Widening
from autoquant.task import Task
from autoquant.tasks.language import stdlib
from benchmarks.tabular.spoken_digits import spoken_digits
from benchmarks.tabular.wide_range import wide_range

SPACE = Space(activation_bits=(4, 6, 8, 16))
RULES: Rules = {"rnn*": {"hidden_bits": (4, 6, 8)}}
"""A hidden state lies in [-1, 1]: 8 bits are level with 16, which only the slow engine computes."""


@dataclass(frozen=True)
class Network:
    """A network whose plans are recorded.

    Attributes:
        name: of the table.
        task: builds the task, whose score is a loss where ``is_loss``, else the metric. Of a
            language model the loss is the logarithm of the perplexity.
        settings: of the search.
        steps: of the short rung; the medium one has 4 times, the full one 16 times as many.
        budgets: shares of the float model's bytes.
    """

    name: str
    task: Callable[[bool], Task]
    settings: Search
    steps: int
    budgets: tuple[float, float, float]


def _language(is_loss: bool) -> Task:
    """Perplexity in both cases."""
    model = {"embedding": 32, "hidden": 48, "layers": 2, "dropout": 0.0}
    data = {"tokens": 200_000, "vocabulary": 600, "batch_size": 16, "length": 20}
    return stdlib(**data, **model, preferred=LANGUAGE)  # type: ignore[arg-type]


LANGUAGE = Search(
    space=SPACE,
    rules=RULES,
    widening=Widening(max_share=0.3, max_growth=0.6),
    baseline=Training(epochs=2, lr=6e-3),
    qat=Training(lr=4e-3, warmup=0.005, distill=1.0, dropout=0.0),
)
DIGITS = Search(
    space=SPACE,
    rules=RULES,
    widening=Widening(max_share=0.95, max_growth=1.5),
    baseline=Training(epochs=30, lr=4e-3, weight_decay=0.05),
    qat=Training(lr=2e-3, warmup=0.005, distill=1.0, dropout=0.0),
)
WIDE_RANGE = Search(
    space=SPACE,
    rules=RULES,
    widening=Widening(max_share=0.6, max_growth=0.6),
    baseline=Training(epochs=20, lr=4e-3),
    qat=Training(lr=2e-3, warmup=0.005, distill=1.0),
)


def _digits(is_loss: bool) -> Task:
    return spoken_digits("loss" if is_loss else "accuracy", DIGITS)


def _wide_range(is_loss: bool) -> Task:
    return wide_range("loss" if is_loss else "accuracy", WIDE_RANGE)


NETWORKS = {
    network.name: network
    for network in (
        Network("language", _language, LANGUAGE, 20, (0.06, 0.08, 0.11)),
        Network("spoken-digits", _digits, DIGITS, 20, (0.075, 0.1, 0.14)),
        Network("wide-range", _wide_range, WIDE_RANGE, 20, (0.065, 0.085, 0.12)),
    )
}
