"""Units that norms over all of their units read (LayerNorm, RMSNorm), and how they may grow.

From D to D' units such a norm computes the same only if the new units hold the mean of the old ones
(LayerNorm) or zeros (RMSNorm). That is so where the layers that write them do it without another
function in between: the stream of a transformer whose blocks normalise their inputs (pre-norm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from autoquant.graph.tracing.units import NONE, Ids, Units
from autoquant.graph.tracing.values import Value
from autoquant.layers import LayerSpec
from autoquant.layers.spec import NewUnits


@dataclass
class NormUnits:
    """What the norms over all units read.

    Attributes:
        units: of the model.
        reads: by norm what it needs of new units, and the units that it reads, [features].
    """

    units: Units
    reads: dict[str, tuple[NewUnits, Ids]] = field(default_factory=dict)

    def read(self, norm: LayerSpec, value: Value, columns: Ids) -> None:
        """Note that a norm reads units, and freeze these where their new ones would not fit.

        Args:
            norm: the norm.
            value: that it reads.
            columns: the units, [features].
        """
        held = value.new_units.mean if norm.new_units == "mean" else value.new_units.zeros
        if held.content != norm.new_units:
            self.units.freeze(columns, f"is normalised by {norm.name} after {held.cause}")
        self.reads[norm.name] = norm.new_units, columns

    def freeze_unfit(self, recurrent_rows: Iterable[Ids]) -> None:
        """Freeze what a norm reads where its units cannot grow one by one, and all alike.

        Args:
            recurrent_rows: units of each recurrent layer, whose outputs are not linear in its rows.
        """
        first: dict[int, tuple[str, NewUnits]] = {}  # by class: the first norm that reads it
        for name, (new_units, columns) in self.reads.items():
            classes = self.units.classes(columns)
            if (columns == NONE).any():
                reason = f"is normalised by {name} together with values that cannot grow"
                self.units.freeze(columns, reason)
            if len(np.unique(classes)) < len(classes):
                reason = f"is normalised by {name}, and several of its units only grow together"
                self.units.freeze(columns, reason)
            for unit_class in set(classes.tolist()) - {NONE}:
                other, kind = first.setdefault(unit_class, (name, new_units))
                if kind != new_units:
                    reason = f"is normalised by {other} and {name}, which need other new units"
                    self.units.freeze([unit_class], reason)
        known = self.new_units()
        for rows in recurrent_rows:
            if any(unit_class in known for unit_class in self.units.classes(rows).tolist()):
                norms = next(iter(self.reads))
                self.units.freeze(rows, f"is recurrent, and its units are normalised by {norms}")

    def new_units(self) -> Mapping[int, NewUnits]:
        """For each equivalence class that a norm reads what its new units hold."""
        return {
            unit_class: new_units
            for new_units, columns in self.reads.values()
            for unit_class in self.units.classes(columns).tolist()
            if unit_class != NONE
        }
