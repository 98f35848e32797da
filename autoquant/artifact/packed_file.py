"""The packed file: a safetensors file of known size that reloads bit for bit.

A parameter's number format says which tensors are stored for it (see quantization.formats): for a
weight of up to 8 bits ``NAME.codes`` and ``NAME.scale``. An activation quantizer is two float32
numbers, the logarithm of its scale and its smallest code. The metadata is one JSON string: format
version, plan, scheme, a SHA-256 of every tensor and one of all that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from autoquant.artifact import manifest
from autoquant.artifact.load_layers import StoredLayer, load_layer, real_device
from autoquant.errors import RunError, UserError
from autoquant.files import replacing
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import resize
from autoquant.layers import LayerSpec, ParameterSpec
from autoquant.plan import Plan
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Scheme
from autoquant.training.qat import share_magnitude

_TORCH_TYPES = {short: getattr(torch, name) for name, (short, _) in manifest.DTYPES.items()}


@dataclass(frozen=True)
class Header:
    """The metadata of a packed file.

    Attributes:
        plan: bits and widths of every layer.
        scheme: how numbers became codes.
        sizes: of layers that have grown, by name: units and features, and both before growing.
        checksums: SHA-256 in hexadecimal of each tensor, by name.
    """

    plan: Plan
    scheme: Scheme
    sizes: Mapping[str, tuple[int, int, int, int]]
    checksums: Mapping[str, str]


# --- writing --------------------------------------------------------------------------------------


@torch.no_grad()
def save(path: Path, model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> int:
    """Pack a fake-quantized model into a file.

    Args:
        path: of the file; one that exists is replaced once the new one is complete.
        model: fake-quantized and calibrated, at the plan's widths.
        network: the original network; the plan's widths are applied here.
        plan: that the model was built from.
        scheme: that the model was built with.

    Returns:
        bytes of the file: those that ``manifest.size_bytes`` predicts.

    Raises:
        RunError: the tensors differ from those of the manifest, or the file cannot be written.
    """
    grown = network.resized(plan)
    tensors = collect(model, grown, plan, scheme)
    entries = manifest.entries(grown, plan, scheme)
    _check_promise(tensors, entries)
    checksums = {entry.name: _checksum(tensors[entry.name]) for entry in entries}
    data = to_bytes(tensors, metadata=manifest.metadata(grown, plan, scheme, checksums))
    promised = manifest.size_bytes(network, plan, scheme)
    if len(data) != promised:
        raise RunError(f"the packed file must have {promised} bytes, got {len(data)}")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise RunError(f"'{path}' could not be written: {error.strerror}") from error
    return len(data)


def collect(model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> dict[str, Tensor]:
    """The tensors of the packed file, on the CPU, by name.

    Args:
        model: fake-quantized and calibrated.
        network: at the plan's widths.
        plan: that the model was built from.
        scheme: that the model was built with.
    """
    state = model.state_dict()
    tensors = {tensor.name: state[tensor.name] for tensor in network.unquantized}
    for norm in network.norms:
        for parameter in norm.parameters:
            name = norm.full_name(parameter.name)
            tensors[name] = state[name].float()
    for layer in network.layers:
        module = model.get_submodule(layer.name)
        if scheme.joint_recurrent and layer.recurrent:
            share_magnitude(module)  # of the weights as they are now, not at the last forward pass
        quantizers = manifest.stored_quantizers(layer, plan[layer.name])
        for name, tensor in _layer_tensors(module, layer, quantizers).items():
            tensors[layer.full_name(name)] = tensor
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


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


def _check_promise(tensors: Mapping[str, Tensor], entries: tuple[manifest.Entry, ...]) -> None:
    promised = {e.name: (_TORCH_TYPES[e.dtype], e.shape) for e in entries}
    built = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    if promised != built:
        names = sorted(name for name in promised | built if promised.get(name) != built.get(name))
        raise RunError(f"the model must hold the tensors its plan promised, differing: {names}")


def _checksum(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()


# --- reading --------------------------------------------------------------------------------------


def load(path: str | Path, model: nn.Module) -> nn.Module:
    """Restore a packed model: the weights are the codes' values, bit for bit.

    Args:
        path: a file that ``save`` wrote.
        model: a fresh float instance of the class that was packed; it is not changed. Built under
            ``with torch.device("meta")`` it takes no memory; what it holds beside its state_dict
            must then not be tensors.

    Returns:
        the model at the plan's widths, in eval mode, its weights frozen, its activations quantized.
        Linear, embedding and recurrent layers stay packed in memory (see autoquant.runtime), other
        layers are decoded.

    Raises:
        UserError: the file is missing, truncated, altered, of another version or model, or the
            model is not an instance.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"model must be an instance of a torch module, got {model!r}")
    header, tensors = read(path)
    original = describe(prepared := prepare(model), None)
    _check_network(path, header, original)
    grown = original.with_sizes({name: sizes[:2] for name, sizes in header.sizes.items()})
    entries = manifest.entries(grown, header.plan, header.scheme)
    _check_same_model(path, tensors, entries)
    restored = resize(prepared, grown)
    unquantized = [tensor.name for tensor in grown.unquantized]
    unquantized += [norm.full_name(p.name) for norm in grown.norms for p in norm.parameters]
    _load_unquantized(restored, {name: tensors[name] for name in unquantized})
    for layer in grown.layers:
        stored = StoredLayer(layer, header.plan[layer.name], header.scheme, tensors)
        restored = load_layer(restored, stored)
    _refuse_unset(restored)
    return restored.requires_grad_(False).eval()


def _check_network(path: str | Path, header: Header, original: Network) -> None:
    """Raise a UserError unless a file is of a model with these layers.

    Args:
        path: of the file, for errors.
        header: of the file.
        original: of the model that was given.
    """
    try:
        header.plan.check(original.names)
    except UserError as error:
        raise UserError(f"'{path}' is of another model: {error}") from error
    for layer in original.layers_and_norms:
        before = header.sizes.get(layer.name, (0, 0, layer.units, layer.features))[2:]
        if before != (layer.units, layer.features):
            came = f"{before[1]} -> {before[0]}"
            raise UserError(
                f"'{path}' is of another model: {layer.name} must be "
                f"{layer.features} -> {layer.units}, got {came}"
            )


def _load_unquantized(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load copies, since a tensor may be the file itself, mapped into memory."""
    state = model.state_dict()
    copies = {
        name: tensor.to(real_device(state[name]), copy=True) for name, tensor in tensors.items()
    }
    model.load_state_dict(copies, strict=False, assign=True)


def _refuse_unset(model: nn.Module) -> None:
    """Raise a UserError if a tensor is still on the meta device: the file does not hold it."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise UserError(f"a model on the meta device must have {name} in its state_dict")


def read(path: str | Path) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors of a packed file, checked.

    Args:
        path: a file that ``save`` wrote.

    Returns:
        the tensors by name; their memory may be the file itself, mapped into memory.

    Raises:
        UserError: the file is missing, truncated, altered or of another version.
    """
    if not Path(path).is_file():
        raise UserError(f"artifact must be an existing packed file, got '{path}'")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(manifest.METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' must be a whole packed file, got: {error}") from error
    if text is None:
        raise UserError(f"'{path}' must be a file that autoquant packed, got another safetensors")
    header = _parse_header(path, text)
    for name, expected in header.checksums.items():
        if name not in tensors or _checksum(tensors[name]) != expected:
            raise UserError(f"'{path}' must be as it was written, got an altered tensor {name}")
    return header, tensors


def _parse_header(path: str | Path, text: str) -> Header:
    try:
        content: dict[str, Any] = json.loads(text)
        version = content["version"]
        if version != manifest.FORMAT_VERSION:
            raise UserError(
                f"'{path}' must have format version {manifest.FORMAT_VERSION}, got {version}"
            )
        if content.pop("digest") != manifest.digest(content):
            raise UserError(f"'{path}' must be as it was written, got an altered header")
        plan = Plan.from_dict(content["plan"], f"the plan of '{path}'")
        sizes = {name: (a, b, c, d) for name, (a, b, c, d) in content["sizes"].items()}
        return Header(plan, _scheme(path, content["scheme"]), sizes, content["sha256"])
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' must have a readable header, got: {error}") from error


def _scheme(path: str | Path, values: Mapping[str, Any]) -> Scheme:
    """The scheme of a file, whose number format and scale rule a user's module may register.

    Args:
        path: of the file, for errors.
        values: of the scheme's fields.

    Raises:
        UserError: nothing of such a name is registered, or a value is refused.
    """
    try:
        return Scheme(**values)
    except UserError as error:
        raise UserError(
            f"'{path}' may need a module of yours that is not imported (AUTOQUANT_PLUGINS=mymodule "
            f"imports it): {error}"
        ) from error


def _check_same_model(
    path: str | Path, tensors: Mapping[str, Tensor], entries: tuple[manifest.Entry, ...]
) -> None:
    """Raise a UserError unless a file holds the tensors of a model.

    Args:
        path: of the file, for errors.
        tensors: of the file, by name.
        entries: of the manifest of the model and the file's plan.
    """
    for entry in entries:
        if entry.name not in tensors:
            raise UserError(f"'{path}' is of another model: it has no tensor {entry.name}")
        tensor = tensors[entry.name]
        if (tensor.dtype, tuple(tensor.shape)) != (_TORCH_TYPES[entry.dtype], entry.shape):
            raise UserError(
                f"'{path}' is of another model: {entry.name} must be {entry.dtype} {entry.shape}, "
                f"got {tensor.dtype} {tuple(tensor.shape)}"
            )
    for name in tensors.keys() - {entry.name for entry in entries}:
        raise UserError(f"'{path}' is of another model: it also has a tensor {name}")
