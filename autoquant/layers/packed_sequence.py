"""Sequences of several lengths as rows [N, W], as PackedSequence holds them.

The rows of all sequences at the first time step come first, then those at the second, and so on.
``sizes`` says how many of the sequences, longest first, are active at each time step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.quantization.codes import attach_quant_params, quant_params_of


def batch_sizes(packed: PackedSequence) -> list[int]:
    """How many sequences are active at each time step.

    Args:
        packed: from user code.

    Raises:
        UserError: its batch sizes do not describe its rows.
    """
    sizes: list[int] = packed.batch_sizes.tolist()
    rows = len(packed.data)
    if sum(sizes) != rows or sizes != sorted(sizes, reverse=True) or min(sizes, default=0) < 1:
        raise UserError(
            f"batch_sizes of a PackedSequence must not increase and must add up to its {rows} "
            f"rows, got {sizes}"
        )
    return sizes


def reverse_sequences(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Reverse each sequence in time; its quantization parameters stay attached.

    Args:
        rows: [N, W].
        sizes: active sequences at each time step.

    Returns:
        [N, W]; the same function applied again gives the rows as they were.
    """
    if sizes[0] == sizes[-1]:
        result = rows.reshape(len(sizes), sizes[0], rows.shape[1]).flip(0).flatten(0, 1)
    else:
        result = rows.index_select(0, _reversed_rows(sizes).to(rows.device))
    params = quant_params_of(rows)
    return result if params is None else attach_quant_params(result, params)


def _reversed_rows(sizes: Sequence[int]) -> Tensor:
    """For each row the index of the row that takes its place, [N]."""
    active = torch.tensor(sizes)  # [T]
    starts = active.cumsum(0) - active  # the first row of each time step
    lengths = (active[:, None] > torch.arange(sizes[0])).sum(0)  # of each sequence, [B]
    step = torch.arange(len(active)).repeat_interleave(active)
    sequence = torch.arange(len(step)) - starts[step]
    return starts[lengths[sequence] - 1 - step] + sequence
