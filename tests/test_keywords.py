"""Models whose arguments have names, and models without a forward: from the search to the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import autoquant
from autoquant.analysis.model_info import profile
from autoquant.settings import Search, Training
from autoquant.task import Direction, Example, Split


class ByName(nn.Module):
    """A forward with arguments that can only be named; it calls its layers by name too."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(9, 6), nn.GRU(6, 8, batch_first=True)
        self.out = nn.Linear(8, 9)

    def forward(self, *, ids: Tensor, scale: Tensor | None = None) -> Tensor:
        hidden = self.rnn(input=self.words(input=ids))[0]
        return self.out(input=hidden if scale is None else hidden * scale)


class WithoutForward(nn.Module):
    """Layers by index in containers, which the loss calls."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Embedding(9, 6), nn.Linear(6, 9)])
        self.gains = nn.ParameterList([nn.Parameter(torch.ones(6))])

    def encode(self, *, ids: Tensor) -> Tensor:
        return self.parts[1](self.parts[0](ids) * self.gains[0])


class Words:
    """Each word is to be copied."""

    name, metric = "words", "loss"
    direction: Direction = "minimize"

    def __init__(self, model: type[nn.Module]) -> None:
        self.model = model
        self.batch = {"ids": torch.randint(9, (4, 5), generator=torch.Generator().manual_seed(0))}

    def build_model(self) -> nn.Module:
        return self.model()

    def steps_per_epoch(self) -> int:
        return 2

    def batches(self, seed: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        while True:
            yield self.batch

    def loss(self, model: nn.Module, batch: dict[str, Tensor], carry: Any) -> tuple[Tensor, Any]:
        run: Any = model if isinstance(model, ByName) else model.encode
        logits: Tensor = run(**batch)
        return F.cross_entropy(logits.flatten(0, 1), batch["ids"].flatten()), None

    def score(self, model: nn.Module, split: Split) -> float:
        return float(self.loss(model, self.batch, None)[0])

    def example(self) -> Example:
        return Example((), 20, "word", self.batch)


def searched(task: Words, folder: Path) -> autoquant.Applied:
    short = Training(steps=3, lr=1e-2)
    settings = Search(
        budget="20kB", trials=1, references=(), baseline=short, qat=short, final=short, device="cpu"
    )
    autoquant.search(task, settings, study=folder / "study", progress=False)
    return autoquant.apply(folder / "study", task, trial="0", progress=False)


@pytest.mark.parametrize("model", [ByName, WithoutForward])
def test_it_is_searched_and_applied(model: type[nn.Module], tmp_path: Path) -> None:
    task = Words(model)
    applied = searched(task, tmp_path)
    loaded = autoquant.load(applied.artifact, task.build_model())
    assert task.score(loaded, "test") == applied.test


def test_named_inputs_are_traced() -> None:
    measured = profile(Words(ByName))
    assert [layer.macs for layer in measured.layers if layer.name == "out"] == [72]
    growing = profile(Words(ByName), autoquant.Widening(max_share=1, max_growth=9)).widenable
    assert growing == ("rnn.l0", "words")


def test_a_model_without_a_forward_cannot_grow() -> None:
    measured = profile(Words(WithoutForward))
    assert {layer.reason for layer in measured.layers} == {
        "the model has no forward to run on the example"
    }
    assert {layer.macs for layer in measured.layers} == {0}
