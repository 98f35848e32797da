"""What is known of every tensor of a forward pass, and what happens where units meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autoquant.graph.tracing.record import Call, Ref
from autoquant.graph.tracing.shapes import along, narrow
from autoquant.graph.tracing.units import NONE, Ids, Units, varies
from autoquant.graph.tracing.values import Value

ACROSS = "is read across its units by {}"
NORMALISED = "is normalised across its units by {}"
COMBINED = "is combined by {} with a value whose units cannot grow"


class PropagationState:
    """The values of tensors, and the units that they are made of.

    Functions that propagate units through an operation get it as their first argument.

    Attributes:
        units: all units; which are bound and which are frozen.
        values: of each tensor so far, by its Ref.
        slices: sets of units that were sliced off: they may grow without the others.
        blocking: tensors without units that others are combined with along their units, and what
            is said of these.
    """

    def __init__(self) -> None:
        self.units = Units()
        self.values: dict[Ref, Value] = {}
        self.slices: list[Ids] = []
        self.blocking: dict[Ref, str] = {}

    def peek(self, ref: Any) -> Value:
        """What is known of a tensor.

        Args:
            ref: the tensor's; anything else, such as a number, has an empty value.
        """
        return self.values.get(ref, Value()) if isinstance(ref, Ref) else Value()

    def read(self, ref: Any) -> Value:
        """What is known of a tensor whose entries an operation uses.

        The first one to use a recurrent state binds the units of its layers: they stand in one
        tensor, so they have one width.

        Args:
            ref: as for ``peek``.
        """
        value = self.peek(ref)
        if value.state and value.ids is not None:
            self.units.bind(value.ids[:1], value.ids)
            value = Value(value.ids[:1], data=True)
            self.values[ref] = value
        return value

    def stop(self, call: Call) -> Value:
        """End the propagation at an operation: freeze all units that it reads.

        Args:
            call: the operation, of which it is not known what it does with them.

        Returns:
            The value of its results, which has no units.
        """
        for ref in call.operands:
            ids = self.read(ref).ids
            if ids is not None:
                self.units.freeze(ids, f"is read by {shown(call)}, which is not followed")
        return Value(data=True)

    def take_slice(self, ids: Ids, axis: int, entries: slice) -> Ids:
        """Units of a slice of a value; from now on they may grow without the others.

        Args:
            ids: units of the value.
            axis: along which it is sliced.
            entries: which entries of the axis.
        """
        index = [slice(None)] * ids.ndim
        index[axis] = entries
        kept = ids[tuple(index)]
        if kept.size < ids.size:
            self.slices.append(kept)
        return kept

    def bind_across(self, ids: Ids, axes: Sequence[int], call: Call, reason: str = ACROSS) -> Ids:
        """Units that an operation reads together along some axes.

        Where units change along other axes too, those that are read together are bound, and grow as
        a whole (attention heads); otherwise they are all there is, and are frozen.

        Args:
            ids: units of the value that is read.
            axes: along which, counted from either end.
            call: the operation.
            reason: why units are frozen; {} is replaced by the operation and its line.

        Returns:
            ``ids`` as they were given.
        """
        axes = [axis % ids.ndim for axis in axes]
        varying = [axis for axis in range(ids.ndim) if varies(ids, axis)]
        across = [axis for axis in axes if axis in varying]
        if across and all(axis in axes for axis in varying):
            self.units.freeze(ids, reason.format(shown(call)))
        elif across:
            self.units.bind_lines(along(ids, across))
        return ids

    def combine(
        self,
        call: Call,
        values: Sequence[Value],
        all_ids: Sequence[Ids | None],
        refs: Sequence[Ref],
    ) -> Ids | None:
        """Units of the result of combining values entry by entry.

        Args:
            call: the operation.
            values: that are combined.
            all_ids: their units with as many axes as the result, as the values broadcast.
            refs: their tensors.
        """
        result: Ids | None = None
        for ids in all_ids:
            if ids is not None:
                result = ids if result is None else self._meet(result, ids, call)
        if result is None:
            return None
        for value, ref in zip(values, refs, strict=True):
            if value.ids is None and not value.uniform:
                shape = (1,) * (result.ndim - len(ref.shape)) + ref.shape
                axes = [axis for axis, size in enumerate(shape) if size > 1]
                if any(varies(result, axis) for axis in axes):
                    self.blocking.setdefault(ref, COMBINED.format(shown(call)))
                self.bind_across(result, axes, call, COMBINED)
        return result

    def _meet(self, first: Ids, second: Ids, call: Call) -> Ids:
        """Units of two values that meet entry by entry.

        Args:
            first: units of one value.
            second: units of the other, with as many axes.
            call: the operation that combines them.
        """
        first_axes, second_axes = (
            {axis for axis in range(ids.ndim) if varies(ids, axis)} for ids in (first, second)
        )
        if first_axes == second_axes and first.shape == second.shape:
            only_one = (first == NONE) != (second == NONE)
            for ids in (first, second):
                reason = f"is combined by {shown(call)} with what cannot grow"
                self.units.freeze(ids[only_one], reason)
            self.units.bind(first, second)
            return np.where(first == NONE, second, first)
        if first_axes <= second_axes or second_axes <= first_axes:
            self.units.bind(first, second)
            return first if second_axes <= first_axes else second
        for ids in (first, second):
            self.units.freeze(ids, f"is combined by {shown(call)} with units along another axis")
        return first

    def freeze_if_along_others(
        self, ids: Ids, all_ids: Sequence[Ids | None], axis: int, call: Call
    ) -> None:
        """Freeze units of concatenated values where some change along another axis as well.

        Args:
            ids: units of the result.
            all_ids: units of each value.
            axis: along which the values are concatenated.
            call: the operation.
        """
        for part in all_ids:
            if part is not None and any(varies(part, a) for a in range(part.ndim) if a != axis):
                self.units.freeze(ids, f"is joined by {shown(call)} along another axis")

    def multiply(self, left: Ids | None, right: Ids | None, call: Call) -> Ids | None:
        """Units of a matrix product, after ``bind_across`` the inner axis of both factors.

        Args:
            left: units of the left factor [..., M, K].
            right: units of the right factor [..., K, N].
            call: the operation.

        Returns:
            Units of the product [..., M, N].
        """
        left = None if left is None else narrow(left.take([0], -1))
        right = None if right is None else narrow(right.take([0], -2))
        if left is not None and right is not None:
            if left.ndim == right.ndim:
                return self._meet(left, right, call)
            self.stop(call)
            return None
        present = right if left is None else left
        if present is None:
            return None
        return self.bind_across(present, range(present.ndim - 2), call)

    def attend(self, all_ids: Sequence[Ids | None], call: Call) -> Ids | None:
        """Units of attention's output: heads of query, key and value are bound.

        Args:
            all_ids: units of query, key and value [..., H, L, D], read across D.
            call: the operation.

        Returns:
            Units of the output [..., H, L, D].
        """
        present = [ids for ids in all_ids if ids is not None]
        if len(present) < len(all_ids):
            for ids in present:
                self.bind_across(ids, range(ids.ndim - 2), call)
            return None
        query, _, value = present
        heads = max(ids.shape[-3] for ids in present)
        first_units = [np.repeat(i[..., :1, :1], heads // i.shape[-3], -3) for i in present]
        for units in first_units[1:]:
            self.units.bind(first_units[0], units)
        return value if value.shape[-3] == query.shape[-3] else query


def shown(call: Call) -> str:
    """An operation and the line of the user's code that it comes from, for reasons.

    Args:
        call: the operation.
    """
    return f"'{call.name.strip('_')}'" + (f" ({call.where})" if call.where else "")
