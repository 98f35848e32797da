"""Packed forms: what makes the layer that runs from packed codes in place of a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from autoquant.layers.registry import runs_as
from autoquant.layers.subclasses import combined, users_class
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.runtime.weight import PackedWeight

Parameters = Mapping[str, PackedWeight | Tensor]
Quantizers = Mapping[str, ActivationQuantizer]


class PackedForm(Protocol):
    """Makes the packed layer of a module. Called once for each layer when a file is loaded."""

    def __call__(
        self, module: Any, parameters: Parameters, quantizers: Quantizers, /
    ) -> nn.Module | None:
        """The packed layer, which takes the module's place and applies the quantizers itself.

        Args:
            module: the layer as it was built, at the plan's width; its parameters have no values.
            parameters: by name; a PackedWeight where a parameter has two axes and integer codes,
                else float32 values.
            quantizers: with their scales, by the names "input_quantizer" and "hidden_quantizer";
                an activation in 32 bits has none.

        Returns:
            None where the module must stay. It then gets decoded parameters and its quantizers.
        """
        ...


_FORMS: dict[type[nn.Module], PackedForm] = {}


def packed_form(module_type: type[nn.Module]) -> Callable[[PackedForm], PackedForm]:
    """Register a function that makes packed layers of a class of module.

    The function follows ``PackedForm``, of ``autoquant.runtime.registry``. ``PackedWeight``, of
    ``autoquant.runtime``, holds a weight's codes; its ``values()`` decodes them, and the packed
    layer may call that in every pass.

    A subclass that has a forward of its own needs its own form; the packed layer of another one is
    an instance of the subclass too. A module without a packed form gets decoded parameters; so does
    one with forward hooks, which a packed layer would not run.

    Args:
        module_type: the class; a function that is registered later for it replaces this one.

    Returns:
        a decorator of a ``PackedForm``.
    """

    def register(form: PackedForm) -> PackedForm:
        _FORMS[module_type] = form
        return form

    return register


def packed_form_of(module: nn.Module) -> PackedForm | None:
    """What makes the packed layer of a module, or None where the module must stay.

    Args:
        module: a layer, at the plan's width.
    """
    if module._forward_hooks or module._forward_pre_hooks:
        return None
    base = next((base for base in type(module).__mro__ if base in _FORMS), None)
    if base is None or not runs_as(module, base):
        return None
    return _FORMS[base] if base is type(module) else partial(_of_subclass, _FORMS[base])


def _of_subclass(
    form: PackedForm, module: nn.Module, parameters: Parameters, quantizers: Quantizers
) -> nn.Module | None:
    """The packed layer of a module of a user's subclass, with what else the module holds.

    Args:
        form: of the class that it runs as.
        module: see ``PackedForm.__call__``.
        parameters: see there.
        quantizers: see there.
    """
    packed = form(module, parameters, quantizers)
    if packed is not None:
        packed.__class__ = combined(type(packed), users_class(module))
        others = vars(module).keys() - vars(packed).keys()
        vars(packed).update({name: vars(module)[name] for name in others})
    return packed
