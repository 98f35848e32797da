"""Checks of what the layers of a widened model read, at every call.

A packed file says which units a layer reads; that they come to it only a forward pass shows. In a
forged file they may be others: this is found before a layer computes with them. Models that have
not grown need no such check, their sizes are those of the model that was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.layers import kind_of


class InputCheck:
    """A forward pre-hook that refuses inputs of another width.

    Args:
        name: of the layer.
        features: that its inputs must have.
        axis: along which they have them.
    """

    def __init__(self, name: str, features: int, axis: int) -> None:
        self.name, self.features, self.axis = name, features, axis

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """See ``nn.Module.register_forward_pre_hook``.

        Args:
            module: the layer.
            args: of its forward pass.
            kwargs: of its forward pass.
        """
        inputs = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(inputs, Tensor):
            return
        axis = self.axis if self.axis >= 0 else self.axis + inputs.ndim
        came = inputs.shape[axis] if 0 <= axis < inputs.ndim else self.features
        if came != self.features:
            raise UserError(f"inputs of {self.name} must have {self.features} features, got {came}")


def input_checks(model: nn.Module, network: Network) -> dict[str, InputCheck]:
    """The checks of a model that has grown, by the names of its layers; none if it has not.

    Recurrent layers check their inputs anyway, and tables have no features.

    Args:
        model: as ``graph.widen.resize`` returns it.
        network: at the plan's widths.
    """
    if not network.sizes():
        return {}
    return {
        layer.name: InputCheck(
            layer.name,
            layer.features,
            getattr(kind_of(model.get_submodule(layer.name)), "axis", -1),
        )
        for layer in network.layers_and_norms
        if (layer.multiplies or layer.follows) and not layer.recurrent
    }


def check_inputs(model: nn.Module, checks: Mapping[str, InputCheck]) -> None:
    """Let layers check their inputs, in place.

    Args:
        model: once its layers are packed.
        checks: by the names of layers.
    """
    for name, check in checks.items():
        model.get_submodule(name).register_forward_pre_hook(check, with_kwargs=True)
