"""What an exported file holds of a weight."""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.plan import Bits


@dataclass(frozen=True)
class Stored:
    """A weight in an exported file.

    Attributes:
        name: of the weight in the model.
        bits: in the packed file.
        kind: type of its entries in the export, such as "int4".
        operator: that reads it.
        code_bytes: of its entries, padding included.
        scale_bytes: of its scales.
        padding: bytes of the entries that are padding.
    """

    name: str
    bits: Bits
    kind: str
    operator: str
    code_bytes: int
    scale_bytes: int = 0
    padding: int = 0

    @property
    def bytes(self) -> int:
        """All that it takes."""
        return self.code_bytes + self.scale_bytes
