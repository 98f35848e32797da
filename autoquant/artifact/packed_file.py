"""The packed file: a safetensors file of known size that reloads bit for bit.

A parameter's number format says which tensors are stored for it (see quantization.formats): for a
weight of up to 8 bits ``NAME.codes`` and ``NAME.scale``. An activation quantizer is two float32
numbers, the logarithm of its scale and its smallest code. All tensors stand one after the other in
one tensor of bytes; their names, types and shapes follow from the header (see header), which also
has a SHA-256 of the whole file. Files of version 2 are read as well (see version2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.artifact import header, manifest, version2
from autoquant.artifact.checks import (
    OTHER_MODEL,
    WRITTEN,
    check_blocks,
    check_joined,
    check_same_network,
    check_same_tensors,
    in_file,
)
from autoquant.artifact.header import Header
from autoquant.artifact.input_check import check_inputs, input_checks
from autoquant.artifact.load_layers import (
    StoredLayer,
    load_layer,
    load_norm,
    load_uncovered,
    refuse_unset,
    set_eps,
)
from autoquant.artifact.loaded import mark_loaded, refuse_loaded, tied_names
from autoquant.artifact.manifest import Entry
from autoquant.artifact.reading import read
from autoquant.errors import RunError, UserError
from autoquant.files import write_bytes
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import resize
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.layers.folded_norm import FOLDED, folded
from autoquant.plan import Plan
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Scheme
from autoquant.training.qat import share_magnitude

NO_ASSETS: Mapping[str, bytes] = MappingProxyType({})

__all__ = ["collect", "load", "read", "save", "stored_layers", "to_bytes"]


# --- writing --------------------------------------------------------------------------------------


@torch.no_grad()
def save(
    path: Path,
    model: nn.Module,
    network: Network,
    plan: Plan,
    scheme: Scheme,
    *,
    assets: Mapping[str, bytes] = NO_ASSETS,
) -> int:
    """Pack a fake-quantized model into a file.

    Args:
        path: of the file; one that exists is replaced once the new one is complete.
        model: fake-quantized and calibrated, at the plan's widths.
        network: the original network; the plan's widths are applied here.
        plan: that the model was built from.
        scheme: that the model was built with.
        assets: bytes that the task needs beside the model, such as a vocabulary, by name. They
            count in the size, and so in a budget.

    Returns:
        bytes of the file: those that ``manifest.size_bytes`` predicts.

    Raises:
        RunError: the tensors differ from those of the manifest, or the file cannot be written.
    """
    grown = network.resized(plan)
    tensors = collect(model, grown, plan, scheme)
    _check_promise(tensors, manifest.entries(grown, plan, scheme))
    data = to_bytes(tensors, network, plan, scheme, assets=assets)
    lengths = {name: len(asset) for name, asset in assets.items()}
    promised = manifest.size_bytes(network, plan, scheme, lengths)
    if len(data) != promised:
        raise RunError(f"the packed file must have {promised} bytes, got {len(data)}")
    write_bytes(path, data)
    return len(data)


def to_bytes(
    tensors: Mapping[str, Tensor],
    network: Network,
    plan: Plan,
    scheme: Scheme,
    *,
    assets: Mapping[str, bytes] = NO_ASSETS,
) -> bytes:
    """A packed file of given tensors.

    Args:
        tensors: those of the manifest, by name, on the CPU.
        network: the original network.
        plan: bits and widths of its layers.
        scheme: how numbers became codes.
        assets: as in ``save``.
    """
    grown = network.resized(plan)
    parts = [_bytes_of(tensors[entry.name]) for entry in manifest.entries(grown, plan, scheme)]
    data = b"".join([*parts, *assets.values()])
    lengths = {name: len(asset) for name, asset in assets.items()}
    model_text = header.encode_model(header.ModelText(network, scheme, lengths))
    eps = [norm.eps for norm in manifest.norms_with_eps(grown, scheme) if norm.eps is not None]
    plan_text = header.encode_plan([plan[name] for name in network.names], eps)
    blank = header.compose(header.BLANK, plan_text, model_text, len(data))
    digest = header.digest_of(blank, data)
    return header.compose(digest, plan_text, model_text, len(data)) + data


def _bytes_of(tensor: Tensor) -> Any:
    """The bytes of a tensor as a buffer, little-endian."""
    return tensor.resolve_conj().contiguous().view(-1).view(torch.uint8).numpy().data


def collect(model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> dict[str, Tensor]:
    """The tensors of the packed file, on the CPU, by name.

    Args:
        model: fake-quantized and calibrated.
        network: at the plan's widths.
        plan: that the model was built from.
        scheme: that the model was built with.
    """
    state = model.state_dict()
    tensors = {tensor.name: state[tensor.name] for tensor in manifest.uncovered(network)}
    for norm in network.norms:
        module = model.get_submodule(norm.name)
        for name, tensor in _norm_tensors(module, norm, scheme).items():
            tensors[norm.full_name(name)] = tensor
    for layer in network.layers:
        module = model.get_submodule(layer.name)
        if scheme.joint_recurrent and layer.recurrent:
            share_magnitude(module)  # of the weights as they are now, not at the last forward pass
        quantizers = manifest.stored_quantizers(layer, plan[layer.name])
        for name, tensor in _layer_tensors(module, layer, quantizers).items():
            tensors[layer.full_name(name)] = tensor
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _norm_tensors(module: nn.Module, norm: LayerSpec, scheme: Scheme) -> dict[str, Tensor]:
    """The stored tensors of a norm, by their names in it.

    Args:
        module: the norm of the model.
        norm: at the plan's width.
        scheme: that the model was built with.
    """
    if manifest.is_folded(norm, scheme):
        halves = (tensor.half() for tensor in folded(module))
        return dict(zip(FOLDED, halves, strict=True))
    return {p.name: getattr(module, p.name).float() for p in norm.parameters}


def _layer_tensors(
    module: nn.Module, layer: LayerSpec, quantizers: tuple[str, ...]
) -> dict[str, Tensor]:
    """The stored tensors of one layer, by their names in the layer.

    Args:
        module: the layer of the model.
        layer: its parameters; one that belongs to another layer too is stored there.
        quantizers: names of the activation quantizers that are stored.
    """
    tensors = {}
    for parameter in layer.parameters:
        if not parameter.shared:
            for suffix, tensor in _parameter_tensors(module, parameter).items():
                tensors[parameter.name + suffix] = tensor
    for name in quantizers:
        quantizer = getattr(module, name)
        tensors[name] = torch.stack([quantizer.log_scale.detach(), quantizer.qmin]).float()
    if layer.recurrent and layer.grown:
        tensors["unit_sources"] = module.unit_sources  # type: ignore[assignment]
    return tensors


def _parameter_tensors(module: nn.Module, parameter: ParameterSpec) -> dict[str, Tensor]:
    """The stored tensors of a parameter, by suffix; one without a quantizer is stored as it is."""
    parametrized = getattr(module, "parametrizations", {})
    if parameter.name not in parametrized:
        return {"": getattr(module, parameter.name)}
    quantizer: WeightQuantizer = parametrized[parameter.name][0]
    return quantizer.stored(parametrized[parameter.name].original)


def _check_promise(tensors: Mapping[str, Tensor], entries: tuple[Entry, ...]) -> None:
    promised = {e.name: (manifest.TORCH_TYPES[e.dtype], e.shape) for e in entries}
    built = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    if promised != built:
        names = sorted(name for name in promised | built if promised.get(name) != built.get(name))
        raise RunError(f"the model must hold the tensors its plan promised, differing: {names}")


# --- reading --------------------------------------------------------------------------------------


def load(path: str | Path, model: nn.Module) -> nn.Module:
    """Restore a packed model: the weights are the codes' values, bit for bit.

    Batches: any number of sequences or rows, whatever it was in training. Where a layer's weights
    and inputs have at most 8 bits, a row's result does not depend on the rows beside it.

    Streaming: pass the state that a call of a recurrent layer returns to the next call; a sequence
    can be cut anywhere, down to single time steps. With up to 8 bits the outputs are, bit for bit,
    those of the whole sequence. Without a state a call starts from the initial one.

    Threads: any number of Python threads may call one model at the same time, each with inputs and
    states of its own; the results are those of calls one after the other, and kernels release the
    interpreter lock. This holds for what autoquant puts into the model: a forward of the user's
    that keeps something in ``self`` needs one copy (``copy.deepcopy``) for each thread. While
    threads call it, do not move it (``to``), load into it or change its mode. ``aq.computing`` and
    ``torch.no_grad`` count for the thread that enters them. torch's own threads
    (``torch.set_num_threads``) work for each caller: with one caller for each core, set 1.

    Processes: each loads the file itself, or gets a pickle of the model, which is packed too; they
    share no memory. Start them by "spawn", or before the model runs, as for any model of torch.

    Memory: linear, embedding and recurrent layers keep codes and scales (see autoquant.runtime);
    they are decoded for the length of a call where a product cannot run on integers: activations
    above 8 bits, other devices than the CPU, no compiled kernels. All other layers are decoded once
    and stay float: convolutions, bilinear layers, cells (nn.LSTMCell, ...), norms, and layers with
    hooks. While a file is loaded the instance that was given is in memory too, unless it is built
    under ``with torch.device("meta")``. ``aq.dequantized`` makes a plain float model of the result.

    Args:
        path: a file that ``save`` wrote.
        model: a fresh float instance of the class that was packed; it is not changed. Built under
            ``with torch.device("meta")`` it takes no memory; what it holds beside its state_dict
            must then not be tensors.

    Returns:
        the model at the plan's widths, in eval mode, its weights frozen, its activations quantized.
        The counters of batch norms are those of the model that was given.

    Raises:
        UserError: the file is missing, truncated, altered, of another version or model, or the
            model is not an instance.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"model must be an instance of a torch module, got {model!r}")
    refuse_loaded(model)
    stored, tensors = read(path)
    original = describe(prepared := prepare(model), None)
    with in_file(path, OTHER_MODEL):
        grown, entries = _grown(stored, original)
        check_blocks(grown)
        check_same_tensors(tensors, entries)
        restored = resize(prepared, grown)
        check_joined(restored)
    checks, tied = input_checks(restored, grown), tied_names(restored)
    with in_file(path, WRITTEN):
        restored = _with_values(restored, grown, stored, tensors)
    refuse_unset(restored)
    check_inputs(restored, checks)
    mark_loaded(restored, tied)
    return restored.requires_grad_(False).eval()


def stored_layers(path: str | Path, model: nn.Module) -> tuple[StoredLayer, ...]:
    """The layers of a packed file with the codes and scales that it holds of them.

    Args:
        path: a file that ``save`` wrote.
        model: a fresh float instance of the class that was packed; it is not changed.

    Raises:
        UserError: the file is missing, altered or of another model.
    """
    stored, tensors = read(path)
    with in_file(path, OTHER_MODEL):
        grown, _ = _grown(stored, describe(prepare(model), None))
    return tuple(
        StoredLayer(layer, stored.plan[layer.name], stored.scheme, tensors)
        for layer in grown.layers
    )


def _grown(stored: Header, original: Network) -> tuple[Network, tuple[Entry, ...]]:
    """The network at the plan's widths, and the tensors that its file holds.

    Args:
        stored: header of the file.
        original: of the model that was given.

    Raises:
        UserError: the file is of another network, or its plan does not fit.
    """
    if stored.network is None:
        grown = version2.resized(original, stored)
        return grown, version2.entries(grown, stored)
    check_same_network(stored.network, original)
    layouts = stored.network
    joined = replace(
        original,
        inputs=layouts.inputs,
        outputs=layouts.outputs,
        groups=layouts.groups,
        frozen=layouts.frozen,
        unquantized=layouts.unquantized,
    )
    grown = joined.resized(stored.plan)
    return grown, manifest.entries(grown, stored.plan, stored.scheme)


def _with_values(
    model: nn.Module, network: Network, stored: Header, tensors: Mapping[str, Tensor]
) -> nn.Module:
    """A model with what its file holds.

    Args:
        model: at the plan's widths, without values; changed in place.
        network: at the plan's widths.
        stored: header of the file.
        tensors: of the file.
    """
    names = [tensor.name for tensor in manifest.uncovered(network)]
    load_uncovered(model, {name: tensors[name] for name in names})
    for norm in network.norms:
        load_norm(model, norm, stored.scheme, tensors)
    for name, eps in stored.eps.items():
        set_eps(model.get_submodule(name), eps)
    for layer in network.layers:
        stored_layer = StoredLayer(layer, stored.plan[layer.name], stored.scheme, tensors)
        model = load_layer(model, stored_layer)
    return model
