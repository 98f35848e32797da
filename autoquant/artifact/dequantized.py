"""From a loaded model to a plain one: torch's own modules with float weights."""

from __future__ import annotations

import torch
from torch import nn

from autoquant.artifact.input_check import InputCheck
from autoquant.artifact.loaded import Loaded, check_loaded, remove_mark
from autoquant.artifact.torch_layers import become, make_attention, make_embedding, make_linear
from autoquant.artifact.torch_recurrent import torch_cell, torch_stack
from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.layers.attention import Attention
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.recurrent_cell import RecurrentCell
from autoquant.layers.stack import Recurrent
from autoquant.runtime import PackedEmbedding, PackedLinear, PackedWeight
from autoquant.training.activations import detach_activation_quantizers


@torch.no_grad()
def dequantized(model: nn.Module) -> nn.Module:
    """A plain model with the weights of a loaded one, to be trained on, exported or shared.

    It has the user's own classes and torch's: no class, hook or number format of autoquant. A
    weight's values are those that its codes stand for, in float; all parameters are trained, as
    those of a new model, and it is in eval mode. Activations are not quantized. So outputs differ
    from the loaded model's by the rounding of activations alone; where these have 32 bits, they
    are equal up to the order of float sums.

    A recurrent stack becomes one nn.LSTM, nn.GRU or nn.RNN, with all layers as wide as the widest;
    new units of narrower layers are zero. If it has grown, a state that user code makes must have
    the new width, ``hidden_size`` (or ``proj_size``) of the module; the loaded model also takes the
    old one. torch projects only to fewer units than there are cells: where a projection has grown
    beyond them, cells that stay zero are added, also to c of the state.

    Two modules that torch lacks stay subclasses of torch's that autoquant has, with torch's
    weights: a stack whose last layer is narrower than another one (``NarrowLSTM``, ...), and
    attention whose inputs, heads and outputs differ in width since it has grown (``Attention``).

    Batch norms that the file holds as scale and shift (``norms=half``) compute the same in eval
    mode; they hold no statistics of the data, so leave them in eval mode when you train on.
    Parameters that the model shares are shared, except for a table whose row for padding is zero
    where another layer reads the codes of that row.

    Args:
        model: that ``aq.load`` returned, on any device, or a copy of it; it is left as it is.

    Raises:
        UserError: the model is not from ``aq.load``, or has a layer that torch does not have: a
            recurrent cell of Bit-RNN, an initial state other than zero, a packed form of your own.
    """
    model = copy_model(check_loaded(model))
    loaded = remove_mark(model)
    for module in model.modules():
        _remove_checks(module)
        detach_activation_quantizers(module)
    _replace_layers(model)
    _refuse_packed(model)
    _tie(model, loaded)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    return model.eval()


def _remove_checks(module: nn.Module) -> None:
    for key, hook in [*module._forward_pre_hooks.items()]:
        if isinstance(hook, InputCheck):
            del module._forward_pre_hooks[key]
            module._forward_pre_hooks_with_kwargs.pop(key, None)


def _replace_layers(model: nn.Module) -> None:
    """Make torch's modules of autoquant's, in place: wherever they are held, they are changed.

    Args:
        model: a copy of a loaded one.
    """
    layers = [*model.named_modules()]
    for name, module in layers:
        if isinstance(module, Recurrent):
            become(module, torch_stack(name, module))
        elif isinstance(module, RecurrentCell):
            become(module, torch_cell(name, module))
        elif isinstance(module, PackedEmbedding):
            make_embedding(module)
        elif isinstance(module, PackedLinear | IntegerLinear):
            make_linear(module)
    for _, module in layers:
        if isinstance(module, Attention):
            make_attention(module)


def _refuse_packed(model: nn.Module) -> None:
    """Raise a UserError where a layer still runs from packed codes: that of a user's packed form.

    Args:
        model: whose known layers are replaced.
    """
    for name, module in model.named_modules():
        if any(isinstance(child, PackedWeight) for child in module.children()):
            kind = type(module).__name__
            raise UserError(f"{name or 'model'} must be a layer that torch has, got a {kind}")


def _tie(model: nn.Module, loaded: Loaded) -> None:
    """Make one parameter of those that were one before the model was packed, and are still equal.

    Args:
        model: changed in place.
        loaded: names those that were one.
    """
    for names in loaded.tied:
        first: nn.Parameter | None = None
        for path, _, attribute in (name.rpartition(".") for name in names):
            module = _submodule(model, path)
            parameter = None if module is None else module._parameters.get(attribute)
            if module is None or parameter is None:
                continue
            if first is None:
                first = parameter
            elif torch.equal(parameter, first):
                module._parameters[attribute] = first


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    """A module by its path; None where there is none, such as a layer of a stack."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None
