"""From a packed file to what an export reads: the loaded model and its layers' values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.artifact.load_layers import StoredLayer
from autoquant.artifact.packed_file import load, stored_layers
from autoquant.errors import UserError
from autoquant.exports import probe
from autoquant.exports.layers import (
    Layer,
    StackLayer,
    TableLayer,
    linear_layer,
    recurrent_layer,
    weights_of,
)
from autoquant.exports.recording import Source
from autoquant.exports.weights import CodedWeight
from autoquant.layers.linear import IntegerLinear
from autoquant.layers.registry import runs_as
from autoquant.layers.stack import Recurrent
from autoquant.runtime import PackedEmbedding, PackedLinear
from autoquant.task import Example
from autoquant.training.activations import quantizes_input


def open_source(path: str | Path, model: nn.Module, example: Example) -> Source:
    """Load a packed file for an export.

    Args:
        path: of the packed file.
        model: a fresh float instance of the class that was packed; it is not changed.
        example: what the model is called with; where its batch is 1 it is repeated, so that the
            batch may have any size in the export.

    Raises:
        UserError: the file is damaged or of another model, the model does not run on the example,
            or it has a recurrent cell that no other runtime computes.
    """
    loaded = load(path, model)
    _check_float32(loaded)
    stored = {layer.spec.name: layer for layer in stored_layers(path, model)}
    layers, rest = _layers(loaded, stored)
    probe.run(loaded, example)
    return Source(loaded, layers, rest, _repeated(loaded, example))


def _check_float32(model: nn.Module) -> None:
    """Raise a UserError for a model in another precision than float32."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise UserError(
                f"a model must be in torch.float32 to be exported, got {parameter.dtype} in {name}"
            )


def _layers(
    model: nn.Module, stored: Mapping[str, StoredLayer]
) -> tuple[dict[str, Layer], dict[str, CodedWeight]]:
    """Layers that are recorded as one operator, and coded weights that user code or others read.

    Args:
        model: that was loaded.
        stored: its layers in the file, by name.
    """
    layers: dict[str, Layer] = {}
    covered: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, Recurrent):
            layers[name] = _stack(name, module, stored)
            covered |= {layer.name for layer in layers[name].layers}  # type: ignore[union-attr]
        elif name in stored and _is(module, PackedLinear, IntegerLinear, nn.Linear):
            layers[name] = linear_layer(stored[name])
        elif name in stored and _is(module, PackedEmbedding, nn.Embedding):
            table = getattr(module, "table", None)
            zero = {} if table is None else table.zero_rows
            rows = tuple(row for row, is_zero in zero.items() if is_zero)
            layers[name] = TableLayer(name, weights_of(stored[name])["weight"], rows)
    rest = {
        layer.spec.full_name(name): weight
        for layer in stored.values()
        if layer.spec.name not in covered
        for name, weight in weights_of(layer).items()
        if isinstance(weight, CodedWeight) and name in ("weight",)
    }
    return layers, rest


def _is(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module computes what one of some classes does: it has no forward of its own.

    Args:
        module: of the loaded model.
        kinds: the classes.
    """
    if quantizes_input(module):
        return any(type(module).forward is kind.forward for kind in kinds)
    return any(isinstance(module, kind) and runs_as(module, kind) for kind in kinds)


def _stack(name: str, module: Recurrent, stored: Mapping[str, StoredLayer]) -> StackLayer:
    """A recurrent stack.

    Args:
        name: of the stack.
        module: the stack.
        stored: the layers in the file, by name.

    Raises:
        UserError: its cell is one that no other runtime computes.
    """
    first = module.layers[0]
    if first.cell.resets_first:
        raise UserError(f"{name} must have an LSTM, GRU or RNN cell, got Bit-RNN's GRU")
    prefix = f"{name}." if name else ""
    layers = [
        recurrent_layer(stored[f"{prefix}{child}"], layer)  # type: ignore[arg-type]
        for child, layer in module.named_children()
    ]
    return StackLayer(name, first.cell, tuple(layers), float(first.initial))


def _repeated(model: nn.Module, example: Example) -> Example:
    """An example with two entries along leading axes where it has one, if the model runs on it."""
    for axis in range(2):
        example = _doubled(model, example, axis)
    return example


def _doubled(model: nn.Module, example: Example, axis: int) -> Example:
    """The same along one axis.

    Args:
        model: that was loaded.
        example: what it is called with.
        axis: 0 or 1.
    """
    trees = example.inputs, {**example.keywords}
    tensors = [leaf for leaf in pytree.tree_leaves(trees) if isinstance(leaf, Tensor)]
    fits = [tensor for tensor in tensors if axis < tensor.ndim and (not axis or tensor.ndim < 4)]
    if not fits or any(tensor.shape[axis] != 1 for tensor in fits):
        return example

    def twice(value: object) -> object:
        is_one = isinstance(value, Tensor) and any(value is tensor for tensor in fits)
        return torch.cat([value, value], axis) if is_one else value  # type: ignore[list-item]

    inputs, keywords = pytree.tree_map(twice, trees)
    doubled = example._replace(inputs=inputs, keywords=keywords)
    try:
        probe.run(model, doubled)
    except UserError:
        return example
    return doubled
