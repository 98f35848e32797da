"""What is known of a tensor while units are propagated through a recorded forward pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoquant.graph.tracing.new_units import CONSTANT, UNKNOWN, NewUnitContents
from autoquant.graph.tracing.units import Ids


@dataclass(frozen=True)
class Value:
    """Facts about one tensor of the forward pass.

    Attributes:
        ids: the units it is made of (see units.Ids); None where there are none.
        uniform: whether it is one number everywhere (zeros, ones): it combines with any units.
        dropout: probability of the dropout that it is the result of; 0 without one.
        state: whether it is a recurrent state [L*D, ..., W] that no operation has read yet.
        data: whether it depends on float inputs of the model.
        new_units: what units hold that are added to it.
    """

    ids: Ids | None = None
    uniform: bool = False
    dropout: float = 0.0
    state: bool = False
    data: bool = False
    new_units: NewUnitContents = UNKNOWN

    def with_ids(self, ids: Ids | None) -> Value:
        """The same value after its entries have moved.

        Args:
            ids: the units at the new places.
        """
        return replace(self, ids=ids, state=False)

    def combined_new_units(self) -> NewUnitContents:
        """``new_units`` where it is combined with values that have units: one number, for all."""
        return CONSTANT if self.ids is None else self.new_units
