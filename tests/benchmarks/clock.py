"""A clock that only variants move, so that timings in tests are exact."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def lasting(self, seconds: float) -> Callable[[], None]:
        """A variant that takes so long."""

        def call() -> None:
            self.now += seconds

        return call
