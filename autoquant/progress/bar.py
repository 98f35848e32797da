"""Bar: how far something is that takes long, such as a training."""

from __future__ import annotations

from dataclasses import dataclass

MIN_SECONDS = 1.0
"""Seconds of work before a rate, or a time that is left, is told."""


@dataclass(eq=False)
class Bar:
    """A count of units of work. One thread advances it; others may read it meanwhile.

    Attributes:
        label: what is done, such as "trial 3".
        started: on the monotonic clock.
        total: units in all; None where that is not known.
        unit: in the singular, such as "step".
        done: units that are done.
        skipped: units that were done before it began: by an earlier process, for example.
        note: what else is known, such as the loss.
        parallel: units that are worked on at the same time.
        busy: seconds of single units so far, where these are told: the time that is left then
            follows from them, and not from the time since the beginning.
    """

    label: str
    started: float
    total: int | None = None
    unit: str = ""
    done: int = 0
    skipped: int = 0
    note: str = ""
    parallel: int = 1
    busy: float = 0.0

    def advance(self, count: int = 1, seconds: float = 0.0) -> None:
        """Count units that are done.

        Args:
            count: of units.
            seconds: that they took, where units have times of their own.
        """
        self.done += count
        self.busy += seconds

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None

    def rate(self, now: float) -> float | None:
        """Units each second; None where there is too little to tell.

        Args:
            now: on the monotonic clock.
        """
        counted = self.done - self.skipped
        seconds = self.busy / self.parallel if self.busy else now - self.started
        return counted / seconds if counted > 0 and seconds >= MIN_SECONDS else None

    def left(self, now: float) -> float | None:
        """Seconds until the end, at the rate so far; None where that is not known.

        Args:
            now: on the monotonic clock.
        """
        rate = self.rate(now)
        if rate is None or self.total is None or self.done >= self.total:
            return None
        return (self.total - self.done) / rate

    def counted(self) -> str:
        """The units: "40 of 100 steps"; empty where none are counted."""
        if not self.unit:
            return ""
        if self.total is None:
            return f"{self.done} {plural(self.unit, self.done)}"
        return f"{self.done} of {self.total} {plural(self.unit, self.total)}"

    def tally(self, now: float) -> str:
        """Units and the time that is left: "3 of 12 trainings, about 2 min left".

        Args:
            now: on the monotonic clock.
        """
        left = self.left(now)
        return self.counted() + ("" if left is None else f", about {readable_seconds(left)} left")

    def line(self, now: float) -> str:
        """All that is known, for a log.

        Args:
            now: on the monotonic clock.
        """
        rate = None if self.busy else self.rate(now)
        parts = [self.counted(), "" if rate is None else readable_rate(rate, self.unit)]
        left = self.left(now)
        parts.append("" if left is None else f"about {readable_seconds(left)} left")
        parts.append(self.note)
        known = ", ".join(part for part in parts if part)
        return f"{self.label}: {known or f'{readable_seconds(now - self.started)} so far'}"


def plural(unit: str, count: int) -> str:
    """A unit for a count: "pass", 2 -> "passes".

    Args:
        unit: in the singular.
        count: of units.
    """
    if count == 1:
        return unit
    return unit + ("es" if unit.endswith("s") else "s")


def readable_seconds(seconds: float) -> str:
    """A time for people, in two units at most.

    Args:
        seconds: zero or more.

    >>> readable_seconds(4.25), readable_seconds(59.7), readable_seconds(3725)
    ('4.2 s', '1 min 0 s', '1 h 2 min')
    """
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def readable_rate(rate: float, unit: str) -> str:
    """A rate for people: units a second, or seconds a unit where that is slow.

    Args:
        rate: units each second.
        unit: in the singular.

    >>> readable_rate(12.34, "step"), readable_rate(0.25, "step")
    ('12.3 steps/s', '4.0 s/step')
    """
    return f"{rate:.1f} {plural(unit, 2)}/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"
