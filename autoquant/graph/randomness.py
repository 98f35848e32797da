"""Random numbers of a forward pass: equal for two models, replaced by constants, or located.

Some models draw random numbers in eval mode too (a dropout that is never switched off, sampling).
Two models are compared with equal seeds. One of another width draws other numbers from the same
seed, so it is compared without dropout and with constants in place of noise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autoquant.graph.tracing import lines
from autoquant.seeds import seed_everything

_DROPOUTS = {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(torch.dropout, torch.dropout_, torch.alpha_dropout, torch.alpha_dropout_),
    *(torch.feature_dropout, torch.feature_dropout_, torch.native_dropout),
}
_NOISE: dict[str, float] = {
    "randn": 0.0,
    "randn_like": 0.0,
    "normal": 0.0,
    "normal_": 0.0,
    "rand": 0.5,
    "rand_like": 0.5,
    "uniform_": 0.5,
    "bernoulli": 1.0,
    "bernoulli_": 1.0,
    "exponential_": 1.0,
}
"""Functions whose results depend on how many numbers are drawn, and the constant for each. One is
what a mask holds where nothing is dropped."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and Python's ``random``; their states are restored at the end.

    Args:
        seed: of all three.
    """
    with random_state_kept():
        seed_everything(seed)
        yield


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Give the sources of torch, numpy and Python's ``random`` back as they were, at the end."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


class ConstantNoise(TorchFunctionMode):
    """Leaves out every dropout, and puts constants in place of noise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch without its random part.

        Args:
            func: the function.
            types: of the tensors given; unused.
            args: by position.
            kwargs: by name.
        """
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return _undropped(func, *args, **kwargs)
        if func is F.scaled_dot_product_attention:
            args, kwargs = args[:4], _without_dropout(args, kwargs)
        result = func(*args, **kwargs)
        constant = _NOISE.get(getattr(func, "__name__", ""))
        return result if constant is None else result.fill_(constant)


def _undropped(func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """What a function of _DROPOUTS returns where it drops nothing.

    Args:
        func: the function.
        input: its first argument, returned as it is.
        args: not used.
        kwargs: not used.
    """
    if func is torch.native_dropout:
        return input, torch.ones_like(input, dtype=torch.bool)
    return input


def _without_dropout(args: Any, kwargs: Any) -> dict[str, Any]:
    """Arguments of scaled_dot_product_attention after the fourth, without its dropout.

    Args:
        args: by position: query, key, value, mask, dropout and whether it is causal.
        kwargs: by name.
    """
    causal = {"is_causal": args[5]} if len(args) > 5 else {}
    return {**kwargs, **causal, "dropout_p": 0.0}


def random_line(run: Callable[[], Any]) -> str:
    """The line of the user's code that draws the first random number, as "model.py:12".

    Args:
        run: runs the model once.

    Returns:
        an empty text where no operation of torch draws any, or where torch's own code does.
    """
    finder = _RandomOperations()
    with finder:
        run()
    return next(filter(None, finder.lines), "")


class _RandomOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the user's lines whose operations draw random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note its line if it is random.

        Args:
            func: the operation with its overload.
            types: of the tensors given; unused.
            args: by position.
            kwargs: by name.
        """
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.lines.append(lines.running(random_line.__code__))
        return func(*args, **(kwargs or {}))
