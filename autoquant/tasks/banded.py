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

from autoquant.errors import UserError, shown
from autoquant.layers.linear import IntegerLinear


def check_bands(bands: object, rows: int) -> tuple[int, ...]:
    """The boundaries of bands, checked.

    Args:
        bands: a list of whole numbers in rising order, each above 0 and below ``rows``.
        rows: of the table, one for each word.

    Raises:
        UserError: the boundaries are something else.
    """
    requirement = (
        f"bands must be a list of rising word numbers between 0 and the vocabulary's {rows}"
    )
    if not isinstance(bands, list | tuple):
        raise UserError(f"{requirement}, got {shown(bands)}")
    whole = all(type(number) is int for number in bands)
    rising = whole and list(bands) == sorted(set(bands))
    if not rising or not all(0 < number < rows for number in bands):
        raise UserError(f"{requirement}, got {list(bands)}")
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
        """Cut the tensors of an uncut layer.

        Args:
            state: the whole checkpoint; an uncut weight and bias are replaced by their bands.
            prefix: of this module's names in it.
            rest: other arguments of ``nn.Module._load_from_state_dict``.
        """
        for name in ("weight", "bias"):
            if f"{prefix}{name}" in state:
                whole = state.pop(f"{prefix}{name}")
                for i, (first, stop, _) in enumerate(self._bands()):
                    last = stop == self._edges[-1]  # all rows that are left: torch checks the size
                    state[f"{prefix}{i}.{name}"] = whole[first:] if last else whole[first:stop]
        super()._load_from_state_dict(state, prefix, *rest)


class BandedEmbedding(_Banded):
    """The function of nn.Embedding, from one table for each band.

    Args:
        rows: number of words.
        size: entries E of a word's vector.
        bands: boundaries, see ``check_bands``.
    """

    def __init__(self, rows: int, size: int, bands: Sequence[int]) -> None:
        edges = (0, *bands, rows)
        tables = [nn.Embedding(stop - first, size) for first, stop in pairwise(edges)]
        super().__init__(tables, edges)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the vectors of words.

        Args:
            ids: of words, [...].

        Returns:
            their vectors, [..., E].
        """
        result: Tensor | None = None
        for first, stop, part in self._bands():
            vectors = part((ids - first).clamp(0, stop - first - 1))
            from_here_on = (ids >= first).unsqueeze(-1)
            result = vectors if result is None else torch.where(from_here_on, vectors, result)
        assert result is not None
        return result


class BandedLinear(_Banded):
    """The function of nn.Linear, from one layer for each band of output units.

    Args:
        features: entries of an input.
        rows: number of words, which are the output units.
        bands: boundaries, see ``check_bands``.
    """

    def __init__(self, features: int, rows: int, bands: Sequence[int]) -> None:
        edges = (0, *bands, rows)
        layers = [IntegerLinear(features, stop - first) for first, stop in pairwise(edges)]
        super().__init__(layers, edges)

    def forward(self, inputs: Tensor, units: Tensor | None = None) -> Tensor:
        """The outputs of all words, or of some.

        Args:
            inputs: [..., features].
            units: ids of the words whose outputs are computed, in rising order, [n]; None for all.

        Returns:
            [..., rows], or [..., n].
        """
        if units is None:
            return torch.cat([part(inputs) for _, _, part in self._bands()], -1)
        outputs = []
        for first, stop, part in self._bands():
            units_of_band = units[(units >= first) & (units < stop)] - first
            outputs.append(part(inputs, units_of_band))
        return torch.cat(outputs, -1)
