"""From a model to its network: what its layers are, which widths are tied, what cannot grow."""

from __future__ import annotations

import copy
from types import MappingProxyType

from torch import nn

from autoquant.errors import UserError
from autoquant.layers import kind_of
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.stack import Recurrent
from autoquant.network import Leftover, Network
from autoquant.trace import Walk


def prepare(model: nn.Module) -> nn.Module:
    """A copy of a model in which recurrent modules can grow layer by layer; same function.

    Linear layers of the copy can run on integer codes, once they are quantized.
    """
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is nn.Linear:
            IntegerLinear.adopt(module)
    if isinstance(model, _TORCH_RECURRENT):
        return Recurrent.from_torch(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _TORCH_RECURRENT):
                setattr(parent, name, Recurrent.from_torch(child))
    return model


_TORCH_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def describe(model: nn.Module) -> Network:
    """Read the network of a prepared model.

    Raises:
        UserError: the model has no layer that autoquant knows, or shares a weight between layers.
    """
    layers = tuple(
        kind.describe(name, module)
        for name, module in model.named_modules()
        if (kind := kind_of(module)) is not None
    )
    if not layers:
        raise UserError("a model must have at least one layer that autoquant knows, got none")
    _refuse_shared(model)
    walk = Walk(model, layers)
    walk.run()
    owned = {f"{layer.name}.{p.name}" for layer in layers for p in layer.parameters}
    leftovers = tuple(
        Leftover(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in model.state_dict().items()
        if name.removeprefix(".") not in {o.removeprefix(".") for o in owned}
    )
    return Network(
        layers,
        MappingProxyType(walk.inputs),
        MappingProxyType(walk.groups()),
        MappingProxyType(walk.frozen_groups()),
        leftovers,
        MappingProxyType(walk.dropouts),
    )


def _refuse_shared(model: nn.Module) -> None:
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            raise UserError(
                f"every layer must have its own weights, got {first[id(parameter)]} shared "
                f"with {name}"
            )
