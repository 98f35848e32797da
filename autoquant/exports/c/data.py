"""Constants of an exported program: arrays in flash, each with the layer that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.exports.c.literals import array
from autoquant.exports.c.names import Names


@dataclass
class Data:
    """Constant arrays and structures; equal arrays are written once.

    Attributes:
        names: of all constants.
        texts: their C source, in order.
        flash: bytes of arrays by layer; a shared one counts for the first.
    """

    names: Names
    texts: list[str] = field(default_factory=list)
    flash: dict[str, int] = field(default_factory=dict)
    _known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def array(self, name: str, values: NDArray[Any], layer: str) -> str:
        """Name of a constant array.

        Args:
            name: what it is called like.
            values: uint8, uint16, int32 or float32.
            layer: that it belongs to.
        """
        values = np.ascontiguousarray(values)
        key = values.dtype.name, values.tobytes()
        if key not in self._known:
            self._known[key] = self.names.new(f"{name}")
            self.texts.append(array(self._known[key], values))
            self.flash[layer] = self.flash.get(layer, 0) + values.nbytes
        return self._known[key]

    def structure(self, kind: str, name: str, fields: str) -> str:
        """Name of a constant structure.

        Args:
            kind: its C type.
            name: what it is called like.
            fields: its initializer, without braces.
        """
        key = kind, fields.encode()
        if key not in self._known:
            self._known[key] = self.names.new(name)
            self.texts.append(f"static const {kind} {self._known[key]} = {{\n{fields}\n}};\n")
        return self._known[key]
