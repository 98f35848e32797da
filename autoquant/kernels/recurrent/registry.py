"""Engines by name, in the order in which they are tried.

An engine is made by a factory: a function that gets a job and its tensors, and returns an engine,
or None where it has none for such a job. Adding one is one decorated function in any module::

    @engine("mine", before="native")
    def my_engine(job: Job, operands: Operands) -> Engine | None:
        return MyEngine() if job.cell.kind == "lstm" else None

Where its module was imported (AUTOQUANT_PLUGINS=mymodule does that), ``kernel=mine`` selects it and
``kernel=auto`` tries it before the native engine; ``kernel=mymodule.my_engine`` imports it. Linear
layers and losses have no engines: with the name of one that is not built in, torch computes them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from autoquant.errors import UserError
from autoquant.kernels.recurrent.engine import Engine, Job, Operands
from autoquant.plugins import resolve_callable
from autoquant.settings import KERNELS

EngineFactory = Callable[[Job, Operands], Engine | None]
"""(job, operands) -> an engine, or None. It is called for every run over time, with tensors on any
device and of any float type, and must not change them. An engine that keeps something of a job must
be a new object. A factory may raise a UserError where its name was asked for and it has no engine
(see autoquant.backend.current)."""


class RegisteredEngine(NamedTuple):
    """A factory and its name; several may share a name.

    Attributes:
        name: the value of ``kernel`` that selects it.
        factory: makes the engine.
    """

    name: str
    factory: EngineFactory


ENGINES: list[RegisteredEngine] = []
"""In the order in which they are tried."""


def engine(name: str, *, before: str | None = None) -> Callable[[EngineFactory], EngineFactory]:
    """Register a factory of engines.

    ``Job``, ``Operands``, ``Engine`` and what an engine returns are in
    ``autoquant.kernels.recurrent.engine``; ``autoquant.kernels.recurrent.registry`` has an example.

    Args:
        name: the value of ``kernel`` that selects it.
        before: name of the engines that it is tried before; None: it is tried after all that are
            registered already.

    Returns:
        a decorator of ``function(job, operands) -> Engine | None``.

    Raises:
        UserError: no engine has the name ``before``.
    """

    def register(factory: EngineFactory) -> EngineFactory:
        ENGINES.insert(_position(before), RegisteredEngine(name, factory))
        KERNELS.register(name)
        return factory

    return register


def _position(before: str | None) -> int:
    """Where in ENGINES a new one is inserted."""
    names = [registered.name for registered in ENGINES]
    if before is None:
        return len(names)
    if before not in names:
        raise UserError(
            f"before must be an engine ({', '.join(dict.fromkeys(names))}), got {before!r}"
        )
    return names.index(before)


def factories(kernel: str) -> list[EngineFactory]:
    """The factories to try for a value of ``kernel``, the best one first.

    Args:
        kernel: "auto" for all, a registered name, or the import path of a factory.

    Raises:
        UserError: there is no such engine.
    """
    if "." in kernel and kernel not in KERNELS:
        return [_imported_factory(kernel)]
    return [factory for name, factory in ENGINES if kernel in ("auto", name)]


@cache
def _imported_factory(path: str) -> EngineFactory:
    factory: EngineFactory = resolve_callable(path, "kernel must be an engine or its import path")
    return factory
