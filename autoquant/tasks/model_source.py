"""ModelSource: where a task's model comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn

from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.settings import Search, Training, check_search, combined
from autoquant.tasks.callables import imported_callable


class ModelSource:
    """A model, of which copies are made, or what makes a new one each time that it is called.

    Args:
        model: an instance, a class or a function, or the import path of one of these two.

    Attributes:
        is_instance: whether all models are copies of one, with its weights.

    Raises:
        UserError: it is something else.
    """

    def __init__(self, model: Callable[[], nn.Module] | nn.Module | str) -> None:
        self.is_instance = isinstance(model, nn.Module)
        self._model = model if isinstance(model, nn.Module) else imported_callable("model", model)
        self._dtype: torch.dtype | None = None  # of the model, once it has been built

    def build(self) -> nn.Module:
        """A new model, or a copy of the one that was given.

        Raises:
            UserError: what was given made something else.
        """
        if isinstance(self._model, nn.Module):
            model = copy_model(self._model)
        else:
            _check_no_arguments(self._model)
            model = self._model()
        if not isinstance(model, nn.Module):
            raise UserError(f"model must make a torch.nn.Module, got a {type(model).__name__}")
        self._dtype = dtype_of(model)
        return model

    @property
    def dtype(self) -> torch.dtype | None:
        """The precision of the model, which is built for it if it was not yet."""
        if self._dtype is None:
            with torch.random.fork_rng(devices=[]):
                self.build()
        return self._dtype


def _check_no_arguments(function: Callable[[], nn.Module]) -> None:
    """Raise a UserError where what makes a model needs arguments."""
    try:
        inspect.signature(function).bind()
    except ValueError:  # a builtin
        return
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise UserError(
            f"model must be made without arguments, as by lambda: {name}(...), got {name}: {error}"
        ) from error


def preferred_of(preferred: Search | None, *, trained: bool) -> Search | None:
    """The settings that a task prefers: a model that is trained is not trained again.

    Args:
        preferred: what its user gave.
        trained: whether the model has the weights that it shall have.

    Raises:
        UserError: ``preferred`` is no ``Search``.
    """
    if preferred is not None:
        check_search(preferred)
    if not trained:
        return preferred
    untouched = Search(baseline=Training(steps=0))
    return untouched if preferred is None else combined(preferred, untouched)


def dtype_of(model: nn.Module) -> torch.dtype | None:
    """The type of a model's first parameter of real numbers; None where it has none.

    Args:
        model: any.
    """
    dtypes = (parameter.dtype for parameter in model.parameters())
    return next((dtype for dtype in dtypes if dtype.is_floating_point), None)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first tensor is; the CPU where it has none.

    Args:
        model: any.
    """
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device
