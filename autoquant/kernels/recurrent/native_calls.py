"""Calls of the compiled recurrences: a job and its tensors, forward and backward."""

from __future__ import annotations

import ctypes
import math
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


def _address(tensor: Tensor | None, *shape: int) -> int | None:
    """The address of float32 numbers, checked; see native.address."""
    return native.address(tensor, torch.float32, math.prod(shape))


@native.untraced
def run_forward(job: Job, operands: PackedOperands) -> ForwardResult | None:
    """A forward pass.

    Args:
        job: what is computed.
        operands: its tensors.

    Returns:
        what Engine.forward returns, NativeSaved among it; None where a hidden state is NaN.
    """
    projected, matrix, _, _, state, scale = operands
    units = matrix.layout.columns
    struct, sizes = _describe(job, units, scale), array(job.sizes)
    last = tuple(part.clone() for part in state)
    hidden = projected.new_empty(sum(job.sizes), units)
    activations = _activations(job, projected, units)
    struct.sizes, struct.weight = ctypes.addressof(sizes), matrix.address
    alive = _set_operands(struct, operands, len(hidden))
    _set_results(struct, hidden, last, activations)
    if on_threads("forward", struct, len(projected)):
        return None
    del alive  # until here the kernel used them
    if activations.gates is None:
        return ForwardResult(hidden, last, ())
    first_memory = state[1] if len(state) > 1 else None
    _, memory, squashed = activations
    saved = NativeSaved(hidden, activations.gates, memory, squashed, state[0], first_memory)
    return ForwardResult(hidden, last, saved)


def _set_operands(
    struct: RecurrenceJob, operands: PackedOperands, rows: int
) -> tuple[Tensor | None, ...]:
    """Give a structure the addresses of what the kernel reads, and of its workspaces.

    Args:
        struct: changed.
        operands: as in ``run_forward``.
        rows: N.

    Returns:
        tensors that must live until the kernel has run.
    """
    units, width = operands.matrix.layout.columns, operands.matrix.layout.rows
    scales, bias = _expanded(operands)
    batch, stride = struct.batch, stride_of(units)
    codes = torch.empty(2 * batch * stride, dtype=torch.uint8, device="cpu")
    sums = torch.empty(batch, dtype=torch.int32, device="cpu")
    struct.scales, struct.candidate_bias = _address(scales, width), _address(bias, units)
    struct.projected = _address(operands.projected, rows, width)
    struct.codes = native.address(codes, torch.uint8, 2 * batch * stride)
    struct.sums, struct.stride = native.address(sums, torch.int32, batch), stride
    return scales, bias, codes, sums


def _set_results(
    struct: RecurrenceJob, hidden: Tensor, last: State, activations: Activations
) -> None:
    """Give a structure the addresses of what the kernel writes.

    Args:
        struct: changed.
        hidden: as in ForwardResult.
        last: as in ForwardResult.
        activations: as ``_activations`` makes them.
    """
    rows, units, batch = len(hidden), struct.units, struct.batch
    gates, memory, squashed = activations
    struct.hidden = _address(hidden, rows, units)
    struct.gates = None if gates is None else _address(gates, rows, gates.shape[1])
    struct.memory, struct.squashed = (_address(part, rows, units) for part in (memory, squashed))
    struct.h = _address(last[0], batch, units)
    struct.c = _address(last[1] if len(last) > 1 else None, batch, units)


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


@native.untraced
def run_backward(job: Job, operands: BackwardOperands, saved: NativeSaved) -> Gradients:
    """A backward pass.

    Args:
        job: what is computed.
        operands: its tensors; scale is not None.
        saved: what the forward pass saved.
    """
    recurrent, _, scale, grad_hidden, grad_last = operands
    assert scale is not None
    batch, units, bf16 = job.sizes[0], saved.hidden.shape[1], job.precision == "bfloat16"
    rows, width = sum(job.sizes), job.cell.gates * units
    struct, sizes = _describe(job, units, scale), array(job.sizes)
    grad_scales = (ctypes.c_double * batch)()
    grads = tuple(part.clone(memory_format=torch.contiguous_format) for part in grad_last)
    grad_hidden = grad_hidden.contiguous()
    grad_gates = torch.empty_like(saved.gates)
    grad_product = torch.empty_like(saved.gates) if job.cell.kind == "gru" else grad_gates
    struct.sizes, struct.bf16 = ctypes.addressof(sizes), int(bf16)
    _set_saved(struct, saved, rows)
    alive = _set_panel(struct, job, recurrent)
    struct.grad_hidden = _address(grad_hidden, rows, units)
    struct.grad_h = _address(grads[0], batch, units)
    struct.grad_c = _address(grads[1] if len(grads) > 1 else None, batch, units)
    struct.grad_gates = _address(grad_gates, rows, width)
    struct.grad_recurrent = _address(grad_product, rows, width)
    on_threads("backward", struct, rows, grad_scales)
    del alive  # until here the kernel used them
    total = torch.tensor(sum(grad_scales), dtype=scale.dtype) if job.scale_gradient else None
    return Gradients(grad_gates, grad_product, grads, total)


def _set_saved(struct: RecurrenceJob, saved: NativeSaved, rows: int) -> None:
    """Give a structure the addresses of what the forward pass saved.

    Args:
        struct: changed.
        saved: what was saved.
        rows: N.
    """
    units, batch = struct.units, struct.batch
    struct.hidden = _address(saved.hidden, rows, units)
    struct.gates = _address(saved.gates, rows, saved.gates.shape[1])
    struct.memory = _address(saved.memory, rows, units)
    struct.squashed = _address(saved.squashed, rows, units)
    struct.h0 = _address(saved.first_hidden, batch, units)
    struct.c0 = _address(saved.first_memory, batch, units)


def _set_panel(struct: RecurrenceJob, job: Job, recurrent: Tensor) -> tuple[Tensor | None, ...]:
    """Give a structure the recurrent weights, and workspaces where these are bfloat16.

    Args:
        struct: changed.
        job: what is computed.
        recurrent: as in Operands.

    Returns:
        tensors that must live until the kernel has run.
    """
    depth, bf16, scaled = len(recurrent), bool(struct.bf16), None
    panel, scales = _panel(job, recurrent, bf16)
    struct.panel = native.address(panel, torch.uint8, panel.numel())
    struct.panel_scales = _address(scales, depth)
    if bf16:
        scaled = torch.empty(struct.batch * (depth + 1), dtype=torch.int16, device="cpu")
        struct.scaled = scaled.data_ptr()
    return panel, scales, scaled


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
    panel = torch.zeros(size, dtype=torch.uint8, device="cpu")
    per_row = scales.numel() > 1
    native.function("fill_panel", None)(
        native.pointer(values, torch.float32, depth * units),
        native.pointer(scales, torch.float32, depth if per_row else 1),
        int(per_row),
        depth,
        units,
        int(bf16),
        native.pointer(panel, torch.uint8, size),
    )
    return panel, scales.expand(depth).contiguous() if bf16 else None
