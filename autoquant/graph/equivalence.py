"""Whether two models compute the same function, tried on one example.

Each run begins in the same way: with copies of the inputs (a model may write into them), the same
seed and the buffers as they were. It gives all tensors that the model returns in eval mode, and
what its loss sees in training where that is something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.copies import copy_inputs
from autoquant.errors import RunError
from autoquant.graph.modes import modes_restored, train_own_modules
from autoquant.graph.outputs import check_same_outputs, equal_outputs, numbers_in
from autoquant.graph.randomness import ConstantNoise, random_line, seeded

LossOf = Callable[[nn.Module], Tensor]
"""A model's loss on a batch that is always the same."""
SEEDS = (0, 1)


@dataclass(frozen=True)
class ExampleRun:
    """One forward pass on the same example for any model; one of training where that differs.

    Attributes:
        inputs: positional arguments of one forward pass.
        keywords: arguments by name of the forward pass.
        loss: a model's loss on a batch that is always the same, or None.
        trains: whether training is run too: where a model returns something else in training than
            in eval mode, or no real numbers in eval mode.
        real: whether any of what is compared are real numbers. Whole numbers alone (an argmax) do
            not show small changes.
        random: whether the model draws random numbers in eval mode.
        repeatable: whether two runs with the same seed are equal.
        line: of the user's code that draws random numbers, as "model.py:12"; empty where it is not
            known.
    """

    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    loss: LossOf | None = None
    trains: bool = False
    real: bool = True
    random: bool = False
    repeatable: bool = True
    line: str = ""

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: tuple[Any, ...],
        keywords: Mapping[str, Any] | None = None,
        loss: LossOf | None = None,
    ) -> ExampleRun:
        """Find out how a model can be compared with others; it is run three times or more.

        Args:
            model: a float model; it is left as it is.
            inputs: positional arguments of one forward pass.
            keywords: arguments by name of the forward pass.
            loss: a model's loss on a batch that is always the same. Where None, training is tried
                with the inputs.
        """
        run = cls(inputs, keywords or {}, loss)
        outputs = run.eval_outputs(model)
        if not _same_function(outputs, run.eval_outputs(model, seed=SEEDS[1], noise=True)):
            line = random_line(partial(run.eval_outputs, model, noise=True))
            repeatable = _same_function(outputs, run.eval_outputs(model))
            run = replace(run, random=True, repeatable=repeatable, line=line)
        return run._with_training(model, outputs)

    def _with_training(self, model: nn.Module, outputs: list[Tensor]) -> ExampleRun:
        """With what training changes.

        Args:
            model: of the run.
            outputs: of the model in eval mode.
        """
        real = _has_real(outputs)
        if real and _same_function(outputs, _or_none(partial(self._forward_in_training, model))):
            return self
        trained = _or_none(partial(self.training_outputs, model))
        trains = trained is not None and _has_real(trained)
        return replace(self, trains=trains, real=real or trains)

    @property
    def obstacle(self) -> str:
        """Why models of different widths cannot be compared; empty where they can."""
        if not self.repeatable:
            where = f" ({self.line})" if self.line else ""
            return f"what the model computes differs from run to run{where}"
        return "" if self.real else "the model returns whole numbers only"

    def outputs(self, model: nn.Module) -> list[Tensor]:
        """All that a model computes, without noise: comparable for models of other widths.

        Args:
            model: left as it is.
        """
        outputs = self.eval_outputs(model)
        return outputs + self.training_outputs(model) if self.trains else outputs

    def check_same(self, old: nn.Module, new: nn.Module) -> float:
        """Largest absolute difference of what two models compute; 0 where they cannot be compared.

        Args:
            old: a float model.
            new: the same model after widening.

        Raises:
            RunError: see ``check_same_outputs``.
        """
        if self.obstacle:
            return 0.0
        return check_same_outputs(self.outputs(old), self.outputs(new))

    def equal(self, old: nn.Module, new: nn.Module) -> bool:
        """Whether two models return equal numbers in eval mode, or cannot be compared.

        Args:
            old: any model.
            new: another one. Of models in float64, whose packed files keep scales in float32, the
                outputs may differ by 1e-6.
        """
        if not self.repeatable:
            return True
        return equal_outputs(self.eval_outputs(old), self.eval_outputs(new), double=1e-6)

    # --- runs -------------------------------------------------------------------------------------

    @torch.no_grad()
    def eval_outputs(
        self, model: nn.Module, *, seed: int = SEEDS[0], noise: bool = False
    ) -> list[Tensor]:
        """All numbers that a model returns in eval mode.

        Args:
            model: left as it is.
            seed: of random numbers.
            noise: whether random numbers are drawn; else constants take their places.
        """
        with unchanged(model), seeded(seed), nullcontext() if noise else ConstantNoise():
            return numbers_in(self._call(model.eval())) if has_forward(model) else []

    @torch.no_grad()
    def training_outputs(self, model: nn.Module) -> list[Tensor]:
        """What the loss sees in training, and the loss; without noise and batch statistics.

        Args:
            model: left as it is.
        """
        if self.loss is None:
            return self._forward_in_training(model)
        outputs: list[Tensor] = []
        hook = model.register_forward_hook(lambda *call: outputs.extend(numbers_in(call[-1])))
        try:
            with unchanged(model), seeded(SEEDS[0]), ConstantNoise():
                loss = self.loss(train_own_modules(model))
        finally:
            hook.remove()
        return [*outputs, loss]

    @torch.no_grad()
    def _forward_in_training(self, model: nn.Module) -> list[Tensor]:
        with unchanged(model), seeded(SEEDS[0]), ConstantNoise():
            return numbers_in(self._call(train_own_modules(model)))

    def _call(self, model: nn.Module) -> Any:
        inputs, keywords = self.copies(model)
        return model(*inputs, **keywords)

    def copies(self, model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Copies of the inputs and of the keywords, on a model's device.

        Args:
            model: any.
        """
        tensor = next(iter((*model.parameters(), *model.buffers())), None)
        device = None if tensor is None else tensor.device
        copies: tuple[tuple[Any, ...], dict[str, Any]] = copy_inputs(
            (self.inputs, dict(self.keywords)), device
        )
        return copies


def has_forward(model: nn.Module) -> bool:
    """Whether a model can be called; a loss may use only methods of other names, or its parts.

    Args:
        model: any.
    """
    return getattr(model.forward, "__func__", model.forward) is not nn.Module.forward


def check_same_function(
    old: nn.Module,
    new: nn.Module,
    inputs: tuple[Any, ...],
    keywords: Mapping[str, Any] | None = None,
    loss: LossOf | None = None,
) -> float:
    """Largest absolute difference of what two models compute; 0 where they cannot be compared.

    Args:
        old: a float model.
        new: the same model after widening.
        inputs: positional arguments of one forward pass; they are moved to each model's device.
        keywords: its arguments by name.
        loss: a model's loss on a batch that is always the same, see ``ExampleRun.of``.

    Raises:
        RunError: see ``check_same_outputs``.
    """
    return ExampleRun.of(old, inputs, keywords, loss).check_same(old, new)


def _has_real(outputs: list[Tensor]) -> bool:
    return any(output.is_floating_point() for output in outputs)


def _or_none(run: Callable[[], list[Tensor]]) -> list[Tensor] | None:
    """What a run gives; None where the user's code cannot be run so."""
    try:
        return run()
    except Exception:  # such as training without targets
        return None


def _same_function(outputs: list[Tensor], others: list[Tensor] | None) -> bool:
    if others is None or [o.shape for o in outputs] != [o.shape for o in others]:
        return False
    try:
        check_same_outputs(outputs, others)
    except RunError:
        return False
    return True


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restore the modes and the buffers of a model at the end.

    Args:
        model: any.
    """
    held = [(module, dict(module._buffers)) for module in model.modules()]
    saved = [(buffer, buffer.clone()) for buffer in model.buffers() if not buffer.is_meta]
    try:
        with modes_restored(model):
            yield
    finally:
        for module, buffers in held:
            module._buffers.update(buffers)
        for buffer, values in saved:
            if not torch.equal(buffer, values):  # batch norm writes without a new version
                buffer.detach().copy_(values)
