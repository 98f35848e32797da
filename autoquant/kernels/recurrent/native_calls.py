"""Calls of the compiled recurrences: a job and its tensors, forward and backward."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.kernels.integer_linear import stride_of
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import BackwardOperands, ForwardResult, Gradients, Job
from autoquant.kernels.recurrent.native_struct import Int64, RecurrenceJob, describe, on_threads
from autoquant.quantization import native
from autoquant.quantization.native.library import array
from autoquant.quantization.native.matrix import Matrix


class PackedOperands(NamedTuple):
    """The tensors of a forward pass, the recurrent weight as packed codes; contiguous float32.

    Attributes:
        projected: as in Operands.
        matrix: codes of the recurrent weight [G*H, H].
        row_scales: their scales, [G*H] or [1].
        candidate_bias: as in Operands.
        state: as in Operands.
        scale: as in Operands; not None.
    """

    projected: Tensor
    matrix: Matrix
    row_scales: Tensor
    candidate_bias: Tensor | None
    state: State
    scale: Tensor


class Activations(NamedTuple):
    """What the forward pass writes for the backward pass.

    Attributes:
        gates: after their activations, [N, G*H]; an RNN's are h before it was quantized.
        memory: an LSTM's c, [N, H], or None.
        squashed: an LSTM's squashed c, or the candidate's part of a GRU's recurrent product with
            its bias, [N, H]; or None.
    """

    gates: Tensor | None
    memory: Tensor | None
    squashed: Tensor | None


class NativeSaved(NamedTuple):
    """What the engine saves.

    Attributes:
        hidden: h, [N, H], quantized.
        gates: as in Activations.
        memory: as in Activations.
        squashed: as in Activations.
        first_hidden: h before the first time step, [B, H].
        first_memory: an LSTM's c before the first time step, [B, H], or None.
    """

    hidden: Tensor
    gates: Tensor
    memory: Tensor | None
    squashed: Tensor | None
    first_hidden: Tensor
    first_memory: Tensor | None


def _describe(job: Job, units: int, scale: Tensor) -> RecurrenceJob:
    """The structure of a job, its sizes not yet among it.

    Args:
        job: what is computed.
        units: H.
        scale: of the hidden state.
    """
    assert job.hidden is not None
    spec, batch = job.hidden, job.sizes[0]
    struct = describe(job.cell, spec.grid, scale, masked=spec.masked and spec.clip)
    struct.steps, struct.batch, struct.row1, struct.units = len(job.sizes), batch, batch, units
    return struct


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def run_forward(job: Job, operands: PackedOperands) -> ForwardResult | None:
    """A forward pass.

    Args:
        job: what is computed.
        operands: its tensors.

    Returns:
        what Engine.forward returns, NativeSaved among it; None where a hidden state is NaN.
    """
    projected, matrix, _, _, state, scale = operands
    batch, units = state[0].shape
    struct = _describe(job, units, scale)
    sizes, stride = array(job.sizes), stride_of(units)
    scales, bias = _expanded(operands)
    last = tuple(part.clone() for part in state)
    hidden = projected.new_empty(len(projected), units)
    activations = _activations(job, projected, units)
    codes = torch.empty(2 * batch * stride, dtype=torch.uint8)
    sums = torch.empty(batch, dtype=torch.int32)
    struct.sizes, struct.weight = ctypes.addressof(sizes), matrix.address
    struct.scales, struct.candidate_bias = _address(scales), _address(bias)
    struct.projected, struct.hidden = _address(projected), _address(hidden)
    struct.gates, struct.memory, struct.squashed = map(_address, activations)
    struct.h, struct.c = _address(last[0]), _address(last[1] if len(last) > 1 else None)
    struct.codes, struct.sums, struct.stride = _address(codes), _address(sums), stride
    if on_threads("forward", struct, len(projected)):
        return None
    if activations.gates is None:
        return ForwardResult(hidden, last, ())
    first_memory = state[1] if len(state) > 1 else None
    _, memory, squashed = activations
    saved = NativeSaved(hidden, activations.gates, memory, squashed, state[0], first_memory)
    return ForwardResult(hidden, last, saved)


def _expanded(operands: PackedOperands) -> tuple[Tensor, Tensor | None]:
    """For each row the weight's scale times the hidden state's, and the bias for each unit."""
    projected, _, row_scales, candidate_bias, state, scale = operands
    scales = (row_scales * scale).expand(projected.shape[1]).contiguous()
    if candidate_bias is None:
        return scales, None
    units = state[0].shape[1]
    return scales, candidate_bias.detach().to(projected.dtype).expand(units).contiguous()


def _activations(job: Job, projected: Tensor, units: int) -> Activations:
    """Uninitialized memory.

    Args:
        job: what is computed; all is None where it does not train.
        projected: as in Operands.
        units: H.
    """
    if not job.training:
        return Activations(None, None, None)
    kind, shape = job.cell.kind, (len(projected), units)
    memory = projected.new_empty(shape) if kind == "lstm" else None
    squashed = projected.new_empty(shape) if kind in ("lstm", "gru") else None
    return Activations(torch.empty_like(projected), memory, squashed)


def run_backward(job: Job, operands: BackwardOperands, saved: NativeSaved) -> Gradients:
    """A backward pass.

    Args:
        job: what is computed.
        operands: its tensors; scale is not None.
        saved: what the forward pass saved.
    """
    recurrent, _, scale, grad_hidden, grad_last = operands
    assert scale is not None
    batch, width, bf16 = job.sizes[0], saved.gates.shape[1], job.precision == "bfloat16"
    struct = _describe(job, saved.hidden.shape[1], scale)
    sizes, grad_scales = array(job.sizes), (ctypes.c_double * batch)()
    grads = tuple(part.clone(memory_format=torch.contiguous_format) for part in grad_last)
    grad_hidden = grad_hidden.contiguous()
    grad_gates = torch.empty_like(saved.gates)
    grad_product = torch.empty_like(saved.gates) if job.cell.kind == "gru" else grad_gates
    panel, panel_scales = _panel(job, recurrent, bf16)
    scaled = torch.empty(batch * (width + 1), dtype=torch.int16) if bf16 else None
    struct.sizes, struct.hidden = ctypes.addressof(sizes), _address(saved.hidden)
    struct.gates, struct.memory, struct.squashed = map(_address, saved[1:4])
    struct.h0, struct.c0 = _address(saved.first_hidden), _address(saved.first_memory)
    struct.panel, struct.bf16 = _address(panel), int(bf16)
    struct.panel_scales, struct.scaled = _address(panel_scales), _address(scaled)
    struct.grad_hidden, struct.grad_h = _address(grad_hidden), _address(grads[0])
    struct.grad_c = _address(grads[1] if len(grads) > 1 else None)
    struct.grad_gates, struct.grad_recurrent = _address(grad_gates), _address(grad_product)
    on_threads("backward", struct, len(saved.gates), grad_scales)
    total = torch.tensor(sum(grad_scales), dtype=scale.dtype) if job.scale_gradient else None
    return Gradients(grad_gates, grad_product, grads, total)


def weight_scales(job: Job) -> Tensor:
    """Scales of the recurrent weight's rows, [G*H] or [1].

    Args:
        job: its ``weight_params`` are not None.
    """
    assert job.weight_params is not None
    return job.weight_params.scale.detach().float().reshape(-1)


def _panel(job: Job, recurrent: Tensor, bf16: bool) -> tuple[Tensor, Tensor | None]:
    """The recurrent weight in the order of backward.h, and in bfloat16 a scale for each row.

    Args:
        job: what is computed.
        recurrent: as in Operands.
        bf16: whether the panel holds bfloat16 codes.
    """
    depth, units = recurrent.shape
    values, scales = recurrent.detach().contiguous(), weight_scales(job).contiguous()
    size = native.function("panel_size", Int64)(depth, units, int(bf16))
    panel = torch.zeros(size, dtype=torch.uint8)
    per_row = int(scales.numel() > 1)
    native.function("fill_panel", None)(
        native.pointer(values),
        native.pointer(scales),
        per_row,
        depth,
        units,
        int(bf16),
        native.pointer(panel),
    )
    return panel, scales.expand(depth).contiguous() if bf16 else None
