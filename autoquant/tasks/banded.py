"""Word tables cut into bands of rows, so that frequent words can have more bits than rare ones.

Words are numbered by falling frequency. Band i holds the rows from its boundary to the next one,
as a layer of its own with the name of the table and i: ``decoder.0``, ``decoder.1``, ... The
function is that of the uncut layer, whose checkpoints can be loaded too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.layers.linear import IntegerLinear


def check_bands(bands: object, rows: int) -> tuple[int, ...]:
    """Boundaries as they must be: whole numbers that rise inside a table of ``rows`` rows."""
    rule = f"bands must be a list of rising word numbers between 0 and the vocabulary's {rows}"
    if not isinstance(bands, list | tuple):
        raise UserError(f"{rule}, got {bands!r}")
    whole = all(type(each) is int for each in bands)
    if not whole or list(bands) != sorted(set(bands)) or not all(0 < each < rows for each in bands):
        raise UserError(f"{rule}, got {list(bands)}")
    return tuple(bands)


class _Banded(nn.Module):
    """Layers of consecutive rows.

    Args:
        parts: the layers, frequent words first.
        edges: their boundaries, from 0 to the number of rows.
    """

    def __init__(self, parts: Sequence[nn.Module], edges: Sequence[int]) -> None:
        super().__init__()
        for i, part in enumerate(parts):
            self.add_module(str(i), part)
        self._edges = tuple(edges)

    def _bands(self) -> Iterator[tuple[int, int, Any]]:
        """First row, row behind the last, layer."""
        for (first, stop), part in zip(pairwise(self._edges), self.children(), strict=True):
            yield first, stop, part

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Cut the tensors of an uncut layer."""
        for name in ("weight", "bias"):
            if f"{prefix}{name}" in state:
                whole = state.pop(f"{prefix}{name}")
                for i, (first, stop, _) in enumerate(self._bands()):
                    last = stop == self._edges[-1]  # takes what there is: its size must be right
                    state[f"{prefix}{i}.{name}"] = whole[first:] if last else whole[first:stop]
        super()._load_from_state_dict(state, prefix, *rest)


class BandedEmbedding(_Banded):
    """nn.Embedding of ``rows`` words, E wide."""

    def __init__(self, rows: int, size: int, bands: Sequence[int]) -> None:
        edges = (0, *bands, rows)
        super().__init__([nn.Embedding(b - a, size) for a, b in pairwise(edges)], edges)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [...] -> [..., E]."""
        result: Tensor | None = None
        for first, stop, part in self._bands():
            vectors = part((ids - first).clamp(0, stop - first - 1))
            own = (ids >= first).unsqueeze(-1)
            result = vectors if result is None else torch.where(own, vectors, result)
        assert result is not None
        return result


class BandedLinear(_Banded):
    """nn.Linear to ``rows`` words."""

    def __init__(self, features: int, rows: int, bands: Sequence[int]) -> None:
        edges = (0, *bands, rows)
        super().__init__([IntegerLinear(features, b - a) for a, b in pairwise(edges)], edges)

    def forward(self, inputs: Tensor, units: Tensor | None = None) -> Tensor:
        """inputs [..., features] -> [..., rows], or [..., n] for ``units``, rising ids [n]."""
        if units is None:
            return torch.cat([part(inputs) for _, _, part in self._bands()], -1)
        outputs = []
        for first, stop, part in self._bands():
            own = units[(units >= first) & (units < stop)] - first
            outputs.append(part(inputs, own))
        return torch.cat(outputs, -1)
