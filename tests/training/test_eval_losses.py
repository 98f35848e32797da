"""Losses in eval mode, also of models that return something else there."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.training.eval_losses import eval_losses


class Auxiliary(nn.Module):
    """Returns a second output while training only; the modules' modes are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout())
        self.head, self.auxiliary = nn.Linear(8, 2), nn.Linear(8, 2)
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, inputs: Tensor) -> Any:
        self.modes.append((self.training, self.body[2].training))
        hidden = self.body(inputs)
        return (self.head(hidden), self.auxiliary(hidden)) if self.training else self.head(hidden)


def both(model: nn.Module, batch: Tensor, carry: Any) -> tuple[Tensor, Any]:
    main, auxiliary = model(batch)
    return main.square().mean() + auxiliary.square().mean(), (carry or 0) + 1


def either(model: nn.Module, batch: Tensor, carry: Any) -> tuple[Tensor, Any]:
    output = model(batch)
    return (output if isinstance(output, Tensor) else output[0]).square().mean(), None


BATCHES = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0))


def test_a_loss_that_fails_gets_what_the_model_returns_in_training() -> None:
    """But dropout and norms stay in eval mode, and nothing is changed."""
    model = Auxiliary()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = [float(loss.detach()) for loss in eval_losses(model, both, BATCHES)]
    assert model.modes == [(False, False), (True, False), (True, False), (True, False)]
    assert losses == [float(loss.detach()) for loss in eval_losses(model, both, BATCHES)]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_loss_that_does_not_fail_is_that_of_eval_mode() -> None:
    model = Auxiliary().eval()
    expected = [float(either(model, batch, None)[0].detach()) for batch in BATCHES]
    assert [
        float(loss.detach()) for loss in eval_losses(model.train(), either, BATCHES)
    ] == expected
    assert model.modes == [(False, False)] * 6


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_the_mode_is_restored_once_the_iterator_is_closed(mode: bool) -> None:
    model = Auxiliary().train(mode)
    with closing(eval_losses(model, both, BATCHES)) as losses:
        next(losses)
        assert not model.body[2].training
    assert all(module.training is mode for module in model.modules())


@pytest.mark.parametrize("error", [ValueError("mine"), UserError("mine")], ids=lambda e: repr(e))
def test_a_loss_that_fails_in_both_modes(error: Exception) -> None:
    def fail(model: nn.Module, batch: Tensor, carry: Any) -> Any:
        model(batch)
        raise error

    model = Auxiliary()
    with pytest.raises(type(error), match="mine"):
        next(eval_losses(model, fail, BATCHES))
    assert len(model.modes) == (1 if isinstance(error, UserError) else 2)
    assert model.training
