"""Which files count as the user's: reasons must name their lines, and no line of the machinery."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import autoquant
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.graph.tracing import lines
from tests.graph.tracing.lines import here

PACKAGE = Path(autoquant.__file__).parent
MACHINERY = sorted(
    each.name
    for each in PACKAGE.iterdir()
    if each.is_dir() and each.name not in (*lines.MODEL_FOLDERS, "__pycache__")
)


def test_the_package_is_found() -> None:
    assert PACKAGE.resolve() == lines.PACKAGE


@pytest.mark.parametrize("folder", lines.MODEL_FOLDERS)
def test_folders_of_models_exist(folder: str) -> None:
    files = [*(PACKAGE / folder).glob("*.py")]
    assert files
    assert all(lines._is_users(str(file.resolve())) for file in files)


@pytest.mark.parametrize("folder", MACHINERY)
def test_other_folders_are_not_the_users(folder: str) -> None:
    assert not lines._is_users(str(PACKAGE.resolve() / folder / "module.py"))


@pytest.mark.parametrize("file", [torch.nn.functional.__file__, "<string>", "<frozen runpy>"])
def test_files_of_torch_are_not_the_users(file: str) -> None:
    assert not lines._is_users(file)


@pytest.mark.parametrize("file", [__file__, f"{PACKAGE}_extra/model.py", "/home/me/model.py"])
def test_other_files_are_the_users(file: str) -> None:
    assert lines._is_users(file)


class Stack(nn.Module):
    """A recurrent stack, whose modules and kernels are autoquant's, between a user's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x)[0][..., [0, 1, 2, 3, 4, 5]])  # here


def test_a_reason_names_the_users_line() -> None:
    network = describe(prepare(Stack()).eval(), (torch.randn(2, 3, 4),))
    reason = f"is read by 'index' {here(Stack.forward)}, which is not followed"
    assert network.why_fixed("rnn.l0") == reason


class Constant(Stack):
    """A size in the user's code, at which a layer fails inside autoquant's and torch's modules."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x)[0][..., :6])  # here


def test_an_error_names_the_line_that_called_the_layer() -> None:
    network = describe(prepare(Constant()).eval(), (torch.randn(2, 3, 4),))
    reason = f"growing it fails {here(Constant.forward)}: "
    assert str(network.why_fixed("rnn.l0")).startswith(reason)
