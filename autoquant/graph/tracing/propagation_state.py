"""What is known of every value of a forward pass, and what happens where units meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autoquant.graph.tracing.record import Call, Ref, refs_in
from autoquant.graph.tracing.shapes import along, narrow
from autoquant.graph.tracing.units import NONE, Ids, Units
from autoquant.graph.tracing.values import Value, varies

ACROSS = "is read across its units by {}"
COMBINED = "is combined by {} with a value whose units cannot grow"


class PropagationState:
    """Values by their Refs, and the units that they are made of.

    Attributes:
        values: what is known so far.
        marks: sets of units that were sliced off: they may grow apart from the others.
    """

    def __init__(self) -> None:
        self.units = Units()
        self.values: dict[Ref, Value] = {}
        self.marks: list[Ids] = []

    def peek(self, ref: Any) -> Value:
        """What is known of a tensor."""
        return self.values.get(ref, Value()) if isinstance(ref, Ref) else Value()

    def read(self, ref: Any) -> Value:
        """The same, for something that looks into it: a state's layers are of one width then."""
        value = self.peek(ref)
        if value.state and value.ids is not None:
            self.units.unite(value.ids[:1], value.ids)
            value = Value(value.ids[:1], data=True)
            self.values[ref] = value
        return value

    def stop(self, call: Call) -> Any:
        """Freeze all units that an operation reads; what it makes has none."""
        for ref in refs_in((call.given, dict(call.named))):
            ids = self.read(ref).ids
            if ids is not None:
                self.units.freeze(ids, f"is read by {shown(call)}, which is not followed")
        return None

    def part(self, ids: Ids, axis: int, entries: slice) -> Ids:
        """Units of a slice."""
        index = [slice(None)] * ids.ndim
        index[axis] = entries
        kept = ids[tuple(index)]
        if kept.size < ids.size:
            self.marks.append(kept)
        return kept

    def pin(self, ids: Ids, axes: Sequence[int], call: Call, how: str = ACROSS) -> Ids:
        """Something looks across units along axes: these only grow as a whole, or not at all."""
        axes = [axis % ids.ndim for axis in axes]
        changing = [axis for axis in axes if varies(ids, axis)]
        if not changing:
            return ids
        if all(axis in axes for axis in range(ids.ndim) if varies(ids, axis)):
            self.units.freeze(ids, how.format(shown(call)))
            return ids
        self.units.bind(along(ids, changing))
        return ids

    def together(
        self,
        call: Call,
        values: Sequence[Value],
        given: Sequence[Ids | None],
        refs: Sequence[Ref],
    ) -> Ids | None:
        """Units of values that are combined entry by entry."""
        result: Ids | None = None
        for ids in given:
            if ids is not None:
                result = ids if result is None else self._meet(result, ids, call)
        ndim = 0 if result is None else result.ndim
        for value, ref in zip(values, refs, strict=True):
            if value.ids is None and not value.uniform and result is not None:
                shape = (1,) * (ndim - len(ref.shape)) + ref.shape
                axes = [i for i, size in enumerate(shape) if size > 1]
                result = self.pin(result, axes, call, COMBINED)
        return result

    def _meet(self, one: Ids, other: Ids, call: Call) -> Ids:
        first, second = (
            {axis for axis in range(ids.ndim) if varies(ids, axis)} for ids in (one, other)
        )
        if first == second and one.shape == other.shape:
            odd = (one == NONE) != (other == NONE)
            for ids in (one, other):
                self.units.freeze(ids[odd], f"is combined by {shown(call)} with what cannot grow")
            self.units.unite(one, other)
            return np.where(one == NONE, other, one)
        if first <= second or second <= first:
            self.units.bind_pairs(one, other)
            return one if second <= first else other
        for ids in (one, other):
            self.units.freeze(ids, f"is combined by {shown(call)} with units along another axis")
        return one

    def cover(self, ids: Ids, given: Sequence[Ids | None], axis: int, call: Call) -> None:
        """Values behind one another must not have units along other axes too."""
        for each in given:
            if each is not None and any(varies(each, a) for a in range(each.ndim) if a != axis):
                self.units.freeze(ids, f"is joined by {shown(call)} along another axis")

    def outer(self, one: Ids | None, other: Ids | None, call: Call) -> Ids | None:
        """Units of a product [..., M, N] whose inner axis is pinned."""
        one = None if one is None else narrow(one.take([0], -1))
        other = None if other is None else narrow(other.take([0], -2))
        if one is None or other is None:
            known = other if one is None else one
            if known is None:
                return None
            return self.pin(known, range(known.ndim - 2), call)
        if one.ndim == other.ndim:
            return self._meet(one, other, call)
        self.stop(call)
        return None

    def heads(self, ids: Sequence[Ids | None], call: Call) -> Ids | None:
        """Units of attention's output [..., H, L, D]: heads of query, key and value are bound."""
        known = [each for each in ids if each is not None]
        if len(known) < len(ids):
            for each in known:
                self.pin(each, range(each.ndim - 2), call)
            return None
        query, _, value = known
        most = max(each.shape[-3] for each in known)
        leads = [np.repeat(e[..., :1, :1], most // e.shape[-3], -3) for e in known]
        for lead in leads[1:]:
            self.units.bind_pairs(leads[0], lead)
        return value if value.shape[-3] == query.shape[-3] else query


def shown(call: Call) -> str:
    """An operation and the line of the user's code that it comes from."""
    name = call.target.removeprefix("aten.").strip("_")
    return f"'{name}'" + (f" ({call.where})" if call.where else "")
