"""From a packed file's tensors to layers that run, on packed codes where a layer can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoquant.artifact.manifest import COUNTER, is_folded, norm_entries
from autoquant.errors import UserError
from autoquant.graph.unit_sources import FRESH
from autoquant.layers import LayerSpec, ParameterSpec, kind_of
from autoquant.layers.embedding import padding_row
from autoquant.layers.folded_norm import set_folded
from autoquant.layers.stack import Recurrent
from autoquant.plan import LayerChoice
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.formats import Codes, format_of
from autoquant.runtime import PackedRecurrent, PackedWeight, packed_form_of
from autoquant.settings import Scheme
from autoquant.training.activations import (
    attach_activation_quantizers,
    build_activation_quantizers,
)


@dataclass(frozen=True)
class StoredLayer:
    """A layer as a packed file holds it.

    Attributes:
        spec: the layer at the plan's width.
        choice: the plan's choice for it.
        scheme: how numbers became codes.
        tensors: of the whole file, by name.
    """

    spec: LayerSpec
    choice: LayerChoice
    scheme: Scheme
    tensors: Mapping[str, Tensor]

    def parameter(self, parameter: ParameterSpec) -> Codes | Tensor:
        """A parameter of the layer: codes, or float32 values.

        Args:
            parameter: one that is stored with another layer is found there.
        """
        name = parameter.shared or self.spec.full_name(parameter.name)
        number_format = format_of(self.scheme, parameter.role, self.choice)
        suffixes = [tensor.suffix for tensor in number_format.tensors(parameter.shape)]
        stored = {suffix: self.tensors[name + suffix] for suffix in suffixes}
        try:
            return number_format.load(stored, parameter.shape)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error

    def values(self, parameter: ParameterSpec) -> Tensor:
        """The float32 values of a parameter.

        Args:
            parameter: of the layer.
        """
        loaded = self.parameter(parameter)
        return loaded.values() if isinstance(loaded, Codes) else loaded

    def packed(self, parameter: ParameterSpec) -> PackedWeight | Tensor:
        """A parameter as it stays in memory: packed if it has rows of codes, else its values.

        Args:
            parameter: of the layer.
        """
        loaded = self.parameter(parameter)
        if not isinstance(loaded, Codes):
            return loaded
        if len(parameter.axes) != 2 or not parameter.count:
            return loaded.values()
        rows, columns = parameter.axes
        is_table = columns.role == "out"  # its rows are looked up
        gates = None if is_table else rows.copies if columns.role == "hidden" else 1
        return PackedWeight(loaded.codes, loaded.scale, loaded.grid, loaded.bits, gates=gates)

    def quantizers(self) -> dict[str, ActivationQuantizer]:
        """The layer's activation quantizers with their stored scales, by name."""
        quantizers = build_activation_quantizers(self.spec, self.choice, self.scheme)
        for name, quantizer in quantizers.items():
            stored = self.tensors.get(self.spec.full_name(name))
            if stored is not None:
                try:
                    quantizer.restore(*stored.tolist())
                except UserError as error:
                    raise UserError(f"{self.spec.full_name(name)}: {error}") from error
        return quantizers


def load_layer(model: nn.Module, stored: StoredLayer) -> nn.Module:
    """Give one layer of a model what a packed file holds of it.

    Args:
        model: at the plan's widths; changed in place unless it is the layer itself.
        stored: the layer in the file.

    Returns:
        the model, or the packed layer where the model is the layer itself.
    """
    spec = stored.spec
    module = model.get_submodule(spec.name)
    packed = _load_module(module, stored)
    parameter = next(module.parameters())
    device = real_device(parameter)
    if spec.recurrent and spec.grown:
        sources = _unit_sources(stored).to(device, copy=True)
        (module if packed is None else packed).register_buffer("unit_sources", sources)
    return (
        model if packed is None else _replace(model, spec.name, packed.to(device, parameter.dtype))
    )


def _unit_sources(stored: StoredLayer) -> Tensor:
    """The old unit of each unit of a recurrent layer that has grown, or a negative number."""
    name = stored.spec.full_name("unit_sources")
    sources, (old, _) = stored.tensors[name], stored.spec.original or (0, 0)
    if int(sources.min()) < FRESH or int(sources.max()) >= old:
        raise UserError(f"{name} must be in [{FRESH}, {old})")
    return sources


def load_norm(
    model: nn.Module, norm: LayerSpec, scheme: Scheme, tensors: Mapping[str, Tensor]
) -> None:
    """Give a norm what a packed file holds of it, in its dtype and on its device.

    Args:
        model: at the plan's widths; changed in place.
        norm: of the model.
        scheme: of the file.
        tensors: of the file, by name.
    """
    module = model.get_submodule(norm.name)
    counter = module._buffers.get(COUNTER)
    if counter is not None and counter.is_meta:
        module._buffers[COUNTER] = torch.zeros((), dtype=counter.dtype)
    values = {
        entry.name.removeprefix(norm.full_name("")): tensors[entry.name]
        for entry in norm_entries(norm, scheme)
    }
    if not is_folded(norm, scheme):
        _set_parameters(module, values.items())
        return
    old = module.weight
    device, dtype = real_device(old), old.dtype  # type: ignore[arg-type]
    for name, half in values.items():
        if not bool(half.isfinite().all()):
            raise UserError(f"{norm.full_name(name)} must be finite")
    scale, shift = (nn.Parameter(half.to(device, dtype)) for half in values.values())  # type: ignore[arg-type]
    set_folded(module, scale, shift)


def set_eps(module: nn.Module, eps: float) -> None:
    """Give a norm its eps.

    Args:
        module: the norm; its kind may say by ``eps`` which attribute has it.
        eps: as the file has it.
    """
    setattr(module, getattr(kind_of(module), "eps", "eps"), eps)


def load_uncovered(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model copies of tensors outside of layers, which may be the file itself, mapped.

    Args:
        model: changed in place.
        tensors: by their names in its state_dict.
    """
    state = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}  # of each tensor: modules may share it
    for name, tensor in state.items():
        names.setdefault(id(tensor), []).append(name)
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        copy = tensor.to(real_device(state[name]), copy=True)
        copies |= dict.fromkeys(names[id(state[name])], copy)
    model.load_state_dict(copies, strict=False, assign=True)


def refuse_unset(model: nn.Module) -> None:
    """Raise a UserError if a tensor is still on the meta device: the file does not hold it.

    Args:
        model: with all that its file holds.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise UserError(f"a model on the meta device must have {name} in its state_dict")


def _load_module(module: nn.Module, stored: StoredLayer) -> nn.Module | None:
    """The packed layer that takes a module's place; None if the module itself was loaded."""
    form, quantizers, specs = packed_form_of(module), stored.quantizers(), stored.spec.parameters
    if form is None:
        _set_parameters(module, ((spec.name, stored.values(spec)) for spec in specs))
    else:
        parameters = {spec.name: stored.packed(spec) for spec in specs}
        packed = form(module, parameters, quantizers)
        if packed is not None:
            return packed
        _set_parameters(module, ((name, _values(held)) for name, held in parameters.items()))
    _keep_padding_zero(module, stored)
    attach_activation_quantizers(module, quantizers)
    return None


def _values(parameter: PackedWeight | Tensor) -> Tensor:
    return parameter.values() if isinstance(parameter, PackedWeight) else parameter


def _set_parameters(module: nn.Module, values: Iterable[tuple[str, Tensor]]) -> None:
    """Give a module copies of its parameters or buffers, on its device and in its dtype."""
    for name, tensor in values:
        old = getattr(module, name)
        value = tensor.to(real_device(old), old.dtype, copy=True)
        setattr(module, name, nn.Parameter(value) if isinstance(old, nn.Parameter) else value)


def _keep_padding_zero(module: nn.Module, stored: StoredLayer) -> None:
    """Set the padding row of a decoded table to zeros where its codes are all 0.

    Args:
        module: with its parameters; only nn.Embedding has a padding row.
        stored: the layer in the file.
    """
    padding = padding_row(module)
    loaded = None if padding is None else stored.parameter(stored.spec.parameters[0])
    if isinstance(loaded, Codes) and loaded.grid.offset and not loaded.codes[padding].any():
        module.get_parameter("weight").data[padding] = 0


def _replace(model: nn.Module, name: str, packed: nn.Module) -> nn.Module:
    """Put a packed layer into a model.

    Args:
        model: changed in place.
        name: of the layer that is replaced; it may be in the model under other names too.
        packed: what takes its place; the model itself where the name is empty.
    """
    packed.requires_grad_(False).eval()
    if not name:
        return packed
    replaced = model.get_submodule(name)
    for parent in [*model.modules()]:
        for attribute, child in [*parent._modules.items()]:
            if child is replaced:
                setattr(parent, attribute, packed)
                if isinstance(parent, Recurrent):
                    PackedRecurrent.adopt(parent)
    return model


def real_device(tensor: Tensor) -> torch.device:
    """Where values for a tensor belong: on its device, or on the CPU if that is meta.

    Args:
        tensor: of the model that was given.
    """
    return torch.device("cpu") if tensor.is_meta else tensor.device
