"""PhaseTimes: how long each part of a search took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class PhaseTimes:
    """Wall-clock seconds by phase, in the order in which phases began.

    Attributes:
        seconds: by name of the phase.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of a block to a phase.

        Args:
            name: of the phase.
        """
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def __str__(self) -> str:
        total = f"{sum(self.seconds.values()):.1f} s in all"
        shown = {name: f"{seconds:.1f}" for name, seconds in self.seconds.items()}
        parts = ", ".join(f"{name} {text} s" for name, text in shown.items() if text != "0.0")
        return f"time: {parts}; {total}" if parts else f"time: {total}"
