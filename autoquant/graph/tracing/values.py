"""What is known of a value while a recorded forward pass is followed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoquant.graph.tracing.units import Ids


@dataclass(frozen=True)
class Value:
    """A tensor on its way through the model.

    Attributes:
        ids: the units it is made of (see units.Ids); None where there are none.
        uniform: the same number everywhere (zeros, ones): it goes with any units.
        dropout: the probability of the dropout that it comes out of.
        state: a recurrent state [L*D, ..., W] that nothing has looked into yet.
        data: whether it follows from float inputs.
    """

    ids: Ids | None = None
    uniform: bool = False
    dropout: float = 0.0
    state: bool = False
    data: bool = False

    def moved(self, ids: Ids | None) -> Value:
        """The same numbers in other places."""
        return replace(self, ids=ids, state=False)


def varies(ids: Ids, axis: int) -> bool:
    """Whether units change along an axis."""
    return bool(ids.shape[axis] > 1)
