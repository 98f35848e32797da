"""The precision, the size and the weights of a float model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.errors import RunError, UserError
from autoquant.graph.prepare import prepare
from autoquant.training.float_model import (
    build_float_model,
    load_weights,
    measure_size,
    save_weights,
    weights_file,
)
from tests.toys import language_model
from tests.training.runs import same_weights


def test_buffers_count_in_bytes_but_not_as_parameters() -> None:
    assert measure_size(nn.BatchNorm1d(3)) == (4 * 3 * 4 + 8, 6)


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_weights_that_are_not_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="safetensors file or a study with") as raised:
        weights_file(tmp_path / name)
    assert name in str(raised.value)


def test_weights_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model, other = language_model(seed=1), language_model(seed=2)
    assert not same_weights(model, other)
    save_weights(model, path)
    load_weights(other, path)
    assert same_weights(model, other)


class Shared(nn.Module):
    """Its decoder and its embedding are one tensor."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(5, 4)
        self.decoder = nn.Linear(4, 5)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.embedding(tokens))


def test_shared_weights_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model, other = Shared(1), Shared(2)
    save_weights(model, path)
    load_weights(other, path)
    assert same_weights(model, other)
    assert other.decoder.weight is other.embedding.weight


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        save_weights(language_model(), tmp_path / "nowhere" / "weights.safetensors")
    assert "No such file or directory" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_of_half_precision_takes_its_old_inputs() -> None:
    class Half:
        own = nn.Linear(3, 2).half()

        def build_model(self) -> nn.Module:
            return self.own

    task: Any = Half()
    model = build_float_model(task)
    inputs = torch.ones(4, 3, dtype=torch.float16)
    assert model(inputs).dtype == prepare(model)(inputs).dtype == torch.float32
    assert task.own.weight.dtype == torch.float16
