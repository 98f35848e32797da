"""Layer kinds by the class of module that they describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import nn
from torch.nn.utils import parametrize

from autoquant.layers.spec import LayerSpec


class LayerKind(Protocol):
    """How autoquant reads and resizes one class of module.

    Adding one is one class decorated by ``layer_kind``. ``describe`` is called once for each module
    when a model is profiled, searched, applied or loaded; parameters are then counted, quantized,
    grown and packed as their axes say. ``attributes`` is called when a module has got parameters of
    other sizes. One instance serves all modules of its class.

    A kind may also have a method ``suits(module) -> bool``: a module that it refuses has no kind.

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
    """Register a layer kind for a class of module (its subclasses need their own).

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


def kind_of(module: nn.Module) -> LayerKind | None:
    """The kind of a module, or None where no kind is registered for its class.

    Args:
        module: a parametrized one is of the class that it had before.
    """
    module_type = parametrize.type_before_parametrizations(module)
    full_name = f"{module_type.__module__}.{module_type.__qualname__}"
    kind = _KINDS.get(module_type) or _KINDS.get(full_name)
    suits = getattr(kind, "suits", None)
    return kind if suits is None or suits(module) else None
