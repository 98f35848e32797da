"""Checks of a packed file against the model that it is loaded into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from autoquant.artifact.manifest import TORCH_TYPES, Entry
from autoquant.errors import UserError, first_line
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.layers.attention import Attention
from autoquant.layers.stack import Recurrent

OTHER_MODEL = "is of another model"
WRITTEN = "must hold what autoquant writes"
STORED_FIELDS = (
    *("name", "kind", "units", "features", "directions", "blocks"),
    *("multiplies", "recurrent", "follows", "parameters", "new_units"),
)
"""Fields of a LayerSpec that a file holds; from its kind the others follow."""
_MOST = 300  # characters of a message


def one_line(error: BaseException) -> str:
    """An error's text, not too long for a line.

    Args:
        error: any exception.
    """
    text = first_line(error)
    return text if len(text) <= _MOST else f"{text[:_MOST]} ..."


@contextmanager
def in_file(path: str | Path, requirement: str) -> Iterator[None]:
    """Let the UserErrors of a block name the file.

    Args:
        path: of the file.
        requirement: what stands before the error's own text.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"'{path}' {requirement}: {one_line(error)}") from error


def check_same_network(stored: Network, original: Network) -> None:
    """Raise a UserError unless a file's network is that of a model; layouts may differ.

    Args:
        stored: of the file.
        original: of the model that was given.
    """
    plan_names = {layer.name for layer in stored.layers}
    for name in original.names:
        if name not in plan_names:
            raise UserError(f"it has no layer {name}")
    pairs = ((stored.layers, original.layers), (stored.norms, original.norms))
    for theirs, ours in pairs:
        for there, here in zip(theirs, ours, strict=False):
            _check_same_layer(there, here)
        if len(theirs) != len(ours):
            longer = max(theirs, ours, key=len)
            raise UserError(f"only one of them has {longer[min(len(theirs), len(ours))].name}")
    tensors = [{replace(t, layout=()) for t in n.unquantized} for n in (stored, original)]
    if tensors[0] != tensors[1]:
        names = {tensor.name for tensor in tensors[0] ^ tensors[1]}
        raise UserError(f"tensors outside of layers must be the same, got {min(names, default='')}")


def _check_same_layer(there: LayerSpec, here: LayerSpec) -> None:
    """Raise a UserError unless two layers are the same; of eps it matters whether there is one."""
    same = all(getattr(there, name) == getattr(here, name) for name in STORED_FIELDS)
    if same and (there.eps is None) == (here.eps is None):
        return
    if there.name != here.name:
        raise UserError(f"{here.name} must be a layer of it, got {there.name}")
    kinds = f"{here.kind} {here.shape}", f"{there.kind} {there.shape}"
    if kinds[0] == kinds[1]:
        raise UserError(f"{here.name} must have the same parameters, got others")
    raise UserError(f"{here.name} must be {kinds[0]}, got {kinds[1]}")


def check_same_tensors(tensors: Mapping[str, Tensor], entries: Sequence[Entry]) -> None:
    """Raise a UserError unless a file holds the tensors of a model.

    Args:
        tensors: of the file, by name.
        entries: of the manifest of the model and the file's plan.
    """
    for entry in entries:
        if entry.name not in tensors:
            raise UserError(f"it has no tensor {entry.name}")
        tensor = tensors[entry.name]
        if (tensor.dtype, tuple(tensor.shape)) != (TORCH_TYPES[entry.dtype], entry.shape):
            raise UserError(
                f"{entry.name} must be {entry.dtype} {entry.shape}, "
                f"got {tensor.dtype} {tuple(tensor.shape)}"
            )
    for name in tensors.keys() - {entry.name for entry in entries}:
        raise UserError(f"it also has a tensor {name}")


def check_blocks(network: Network) -> None:
    """Raise a UserError where layers with blocks of channels do not have whole blocks.

    Args:
        network: at the plan's widths.
    """
    for layer in network.layers_and_norms:
        if layer.blocks == 1 and not layer.follows:
            continue
        units, features = layer.original or (layer.units, layer.features)
        whole = layer.units % layer.blocks == layer.features % layer.blocks == 0
        follows = layer.units == layer.features or not layer.follows
        grown_alike = layer.units * features == layer.features * units
        if not (whole and follows and grown_alike):
            raise UserError(f"{layer.name} must have whole blocks of channels, got {layer.shape}")


def check_joined(model: nn.Module) -> None:
    """Raise a UserError where a layer reads another one inside a module of autoquant and differs.

    The kernels run a whole recurrent stack in one call: the widths must be right.

    Args:
        model: at the plan's widths.
    """
    for name, module in model.named_modules():
        if isinstance(module, Recurrent):
            for writer, reader in zip(module.layers, module.layers[1:], strict=False):
                written = writer.directions * writer.units
                if reader.input_size != written:
                    came = reader.input_size
                    raise UserError(f"layers of {name} must read {written} features, got {came}")
        elif isinstance(module, Attention):
            q, k, v, out = module.q_proj, module.k_proj, module.v_proj, module.out_proj
            fits = q.out_features == k.out_features and v.out_features == out.in_features
            heads = q.out_features % module.head_dim == v.out_features % module.head_dim == 0
            if not (fits and heads):
                raise UserError(f"{name} must have projections of one width")
