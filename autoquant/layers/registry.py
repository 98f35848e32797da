"""Layer kinds by the class of module that they describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import nn
from torch.nn.utils import parametrize

from autoquant.layers.spec import LayerSpec


class LayerKind(Protocol):
    """How autoquant reads and resizes one class of module.

    Adding one is one class decorated by ``layer_kind``. ``describe`` is called once for each module
    when a model is profiled, searched, applied or loaded; parameters are then counted, quantized,
    grown and packed as their axes say. ``attributes`` is called when a module has got parameters of
    other sizes. One instance serves all modules of its class. A kind that has a method
    ``covers(module)`` leaves out the modules for which it returns False.

    Attributes:
        name: of the kind, shown to users.
        axis: optional: the axis of input and output along which features and units lie, counted
            from the front or, when negative, from the back; -1 where a kind has none.
    """

    name: str

    def describe(self, name: str, module: Any) -> LayerSpec:
        """The layer's parameters, their axes and its sizes.

        Args:
            name: of the module in the model; becomes the name of the layer.
            module: of the registered class.
        """
        ...

    def attributes(self, spec: LayerSpec) -> dict[str, Any]:
        """The module's attributes that follow from sizes, and their values.

        Args:
            spec: the layer with the sizes that the module is to have.
        """
        ...


_KINDS: dict[type[nn.Module] | str, LayerKind] = {}


def layer_kind(
    module_type: type[nn.Module] | str, *arguments: Any
) -> Callable[[type[LayerKind]], type[LayerKind]]:
    """Register a layer kind for a class of module, and for those of its subclasses that run as it.

    A subclass with a forward of its own needs its own kind.

    The kind follows ``LayerKind``; ``LayerSpec``, ``ParameterSpec`` and ``Axis``, which it
    describes a layer with, are in ``autoquant.layers`` too.

    Args:
        module_type: the class, or its full name where its library need not be installed. A kind
            that is registered later for the same class replaces it.
        arguments: of the kind's constructor.

    Returns:
        a decorator of a ``LayerKind``.
    """

    def register(kind: type[LayerKind]) -> type[LayerKind]:
        _KINDS[module_type] = kind(*arguments)
        return kind

    return register


COMPUTING = ("forward", "__call__", "_conv_forward", "_output_padding", "weight", "bias")
"""Attributes of a class of layer that decide what it computes; a subclass may override them."""


def runs_as(module: nn.Module, base: type[nn.Module]) -> bool:
    """Whether a module is of a class, or of a subclass that computes the same.

    Args:
        module: a parametrized one is of the class that it had before.
        base: the class.
    """
    is_one = issubclass(parametrize.type_before_parametrizations(module), base)
    return is_one and not overridden(module, base)


def overridden(module: nn.Module, base: type[nn.Module]) -> str:
    """What decides what a module computes, and is not that of a class; empty where nothing is.

    Args:
        module: of the class, or of a subclass.
        base: the class.
    """
    if "forward" in vars(module):
        return "forward"
    cls = parametrize.type_before_parametrizations(module)
    names = (n for n in COMPUTING if getattr(cls, n, None) is not getattr(base, n, None))
    return next(names, "")


def registered_bases(module: nn.Module) -> Iterator[type[nn.Module]]:
    """The classes that a module is of and that have a kind, nearest first.

    Args:
        module: any.
    """
    for base in parametrize.type_before_parametrizations(module).__mro__:
        if _kind_of_class(base) is not None:
            yield base


def kind_of(module: nn.Module) -> LayerKind | None:
    """The kind of a module: that of the nearest class that it runs as; None where there is none.

    Args:
        module: a parametrized one is of the class that it had before.
    """
    base = next((base for base in registered_bases(module) if runs_as(module, base)), None)
    kind = None if base is None else _kind_of_class(base)
    covers: Callable[[nn.Module], bool] | None = getattr(kind, "covers", None)
    return kind if covers is None or covers(module) else None


def why_no_kind(module: nn.Module) -> str:
    """Why a module of a subclass of a known layer has no kind, in words; empty for others.

    Args:
        module: any.
    """
    base = next(registered_bases(module), None)
    what = "" if base is None else overridden(module, base)
    return f"has a {what} of its own" if what else ""


def _kind_of_class(base: type) -> LayerKind | None:
    return _KINDS.get(base) or _KINDS.get(f"{base.__module__}.{base.__qualname__}")
