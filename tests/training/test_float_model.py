"""The precision, the size and the weights of a float model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.nn.utils import prune

from autoquant.errors import RunError, UserError
from autoquant.graph.prepare import prepare
from autoquant.training.float_model import (
    build_float_model,
    check_new_weights,
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


@pytest.mark.parametrize("kept", ["embedding.weight", "decoder.weight"])
def test_one_name_of_a_tied_tensor_is_enough(kept: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model, other = Shared(1), Shared(2)
    save_file({kept: model.embedding.weight.detach(), "decoder.bias": model.decoder.bias}, path)
    load_weights(other, path)
    assert same_weights(model, other)
    save_model(model, str(path))
    load_weights(other, path)
    assert same_weights(model, other)


def test_a_tensor_that_is_not_tied_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = Shared(1)
    save_file({"decoder.bias": model.decoder.bias}, path)
    with pytest.raises(UserError, match=r"must hold this task's model, got: .*Missing key"):
        load_weights(model, path)
    untied = nn.ModuleDict({"embedding": nn.Embedding(5, 4), "decoder": nn.Linear(4, 5)})
    save_model(model, str(path))
    with pytest.raises(UserError, match=r"must hold this task's model, got: .*Missing key"):
        load_weights(untied, path)


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        save_weights(language_model(), tmp_path / "nowhere" / "weights.safetensors")
    assert "No such file or directory" in str(raised.value)
    assert "\n" not in str(raised.value)


class Built:
    """A task that is nothing but a model."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self.build_model = build


OLD = nn.Linear(3, 2)


class Constant(nn.Linear):
    """Begins with zeros."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


def pretrained_body() -> nn.Module:
    """Old weights below, new ones above."""
    return nn.Sequential(OLD, nn.Linear(2, 2))


@pytest.mark.parametrize(
    "build", [lambda: nn.Linear(3, 2), lambda: Constant(3, 2), pretrained_body]
)
def test_new_weights(build: Callable[[], nn.Module]) -> None:
    task: Any = Built(build)
    check_new_weights(task)


@pytest.mark.parametrize("build", [lambda: OLD, lambda: copy.deepcopy(OLD)], ids=["it", "copy"])
def test_old_weights_are_no_scratch(build: Callable[[], nn.Module]) -> None:
    task: Any = Built(build)
    with pytest.raises(UserError, match="init_from=scratch must have a task that builds a model"):
        check_new_weights(task)


def test_lines_say_what_quantized_plans_do_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    table = nn.Embedding(9, 6, max_norm=1.0)
    task: Any = Built(
        lambda: nn.Sequential(table, prune.l1_unstructured(nn.Linear(6, 6), "bias", 2))
    )
    build_float_model(task)
    assert capsys.readouterr().out == ""
    build_float_model(task, progress=True)
    pruned, limited = capsys.readouterr().out.splitlines()
    assert pruned.startswith(
        "pruning is baked in: plans train the zeros of 1.bias like other weights"
    )
    assert limited == "max_norm of 0 is applied to the trained table, once"


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
