"""One QAT step over one float step, with the plan's model unwidened."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from autoquant.graph import describe, prepare
from autoquant.plan import LayerChoice
from autoquant.qat import build_candidate
from autoquant.settings import Scheme, Space
from autoquant.space import build_space, canonical
from autoquant.tasks.corpus import Corpus
from autoquant.tasks.language import LanguageTask

CHOICES = {
    "4-bit weights": LayerChoice(4, 32),
    "4-bit weights, 8-bit inputs": LayerChoice(4, 8, hidden_bits=32),
    "4-bit weights, 8-bit inputs and hidden state": LayerChoice(4, 8),
    "2-bit weights, 4-bit inputs and hidden state": LayerChoice(2, 4),
}


def language_task(vocabulary: int, units: int, cell: str) -> LanguageTask:
    """A language model on random words: times do not depend on what the words are."""
    random = np.random.default_rng(0)
    words = tuple(str(i) for i in range(vocabulary))
    streams = {
        split: random.integers(0, vocabulary, 20_000).astype(np.int32)
        for split in ("train", "valid", "test")
    }
    corpus = Corpus("random", words, streams)
    return LanguageTask(corpus, embedding=units, hidden=units, dropout=0.0, cell=cell)


def variants(vocabulary: int, units: int, cell: str) -> dict[str, Callable[[], object]]:
    """A training step of the float model and of each choice."""
    task = language_task(vocabulary, units, cell)
    torch.manual_seed(0)
    model = prepare(task.build_model())
    network = describe(model)
    space = build_space(network, (), Space())
    calls = {"float": _step(task, model)}
    for name, choice in CHOICES.items():
        plan = canonical(space, network, choice)
        candidate = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
        calls[name] = _step(task, candidate)
    return calls


def _step(task: LanguageTask, model: nn.Module) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = next(task.batches(0))

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        loss, _ = task.loss(model, batch, None)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step
