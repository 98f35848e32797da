"""Sequences of several lengths as rows [N, W], as PackedSequence holds them.

The rows of all sequences at the first step, then at the second, and so on; at each step ``sizes``
says how many of the sequences, longest first, are still active.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from autoquant.errors import UserError
from autoquant.quantization.codes import attach_quant_params, quant_params_of


def sizes_of(packed: PackedSequence) -> list[int]:
    """How many sequences are active at each step.

    Raises:
        UserError: they do not describe the rows.
    """
    sizes: list[int] = packed.batch_sizes.tolist()
    rows = len(packed.data)
    if sum(sizes) != rows or sizes != sorted(sizes, reverse=True) or min(sizes, default=0) < 1:
        raise UserError(
            f"batch_sizes of a PackedSequence must not increase and must add up to its {rows} "
            f"rows, got {sizes}"
        )
    return sizes


def mirrored(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Each sequence of [N, W] from its own end to its start; twice is as before."""
    if sizes[0] == sizes[-1]:
        turned = rows.reshape(len(sizes), sizes[0], rows.shape[1]).flip(0).flatten(0, 1)
    else:
        turned = rows.index_select(0, _mirror(sizes).to(rows.device))
    coding = quant_params_of(rows)  # rows of the same codes, in another order
    return turned if coding is None else attach_quant_params(turned, coding)


def _mirror(sizes: Sequence[int]) -> Tensor:
    """For each row the one that it changes places with, [N]."""
    active = torch.tensor(sizes)  # [T]
    starts = active.cumsum(0) - active  # the first row of each step
    lengths = (active[:, None] > torch.arange(sizes[0])).sum(0)  # of each sequence, [B]
    step = torch.arange(len(active)).repeat_interleave(active)
    sequence = torch.arange(len(step)) - starts[step]
    return starts[lengths[sequence] - 1 - step] + sequence
