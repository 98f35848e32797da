"""What is measured: a case is a base and its variants; a variant is made when it is its turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.table import Figure, Outcome
from benchmarks.timing import Times, measure, quartiles, ratio

Call = Callable[[], Any]


class Absent(Exception):
    """A variant cannot be made here; the message is one line that says why."""


class Wrong(Exception):
    """A variant computes something else than it should; its time would be worth nothing."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        rounds: rounds over all variants.
        seconds: each variant is called again until a round of it takes this long.
        threads: of every variant.
    """

    rounds: int = 15
    seconds: float = 0.05
    threads: int = 1


@dataclass(frozen=True)
class Variant:
    """One way to compute something.

    Attributes:
        name: as it is printed.
        make: builds it and returns what is timed; raises Absent where it cannot.
        check: is handed the first call's result and raises Wrong.
    """

    name: str
    make: Callable[[], Call]
    check: Callable[[Any], None] = lambda result: None


@dataclass(frozen=True)
class Over:
    """A further base: the fastest of some variants.

    Attributes:
        name: as it is printed.
        variants: how their names begin.
    """

    name: str
    variants: str


@dataclass(frozen=True)
class Case:
    """Variants that compute the same, timed side by side; the first is the base.

    Attributes:
        group: what it is found by.
        title: what is measured, in full.
        label: the same in a word or two, for the summary.
        variants: the base first.
        over: further bases.
        most_rounds: an upper limit, for what takes long.
        notes: lines below the table.
    """

    group: str
    title: str
    label: str
    variants: tuple[Variant, ...]
    over: tuple[Over, ...] = ()
    most_rounds: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(variant.name for variant in self.variants)

    def measure(self, options: Options) -> Outcome:
        """Make, check and time the variants; what cannot be stands in the notes."""
        made = _make(self)
        rounds = min(options.rounds, self.most_rounds or options.rounds)
        times = measure(made.calls, rounds, options.seconds)
        notes = [*self.notes, *skipped(made.absent)]
        notes += [f"{rounds} rounds"] if rounds != options.rounds else []
        figures = tuple(_figures(self, times))
        return Outcome(self.group, self.title, self.label, figures, tuple(notes), tuple(made.wrong))


class Measurable(Protocol):
    """What a group yields: something with a name that can be measured."""

    @property
    def group(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    def measure(self, options: Options) -> Outcome: ...


Cases = Callable[[], Iterator[Measurable]]


# --- measuring a case ----------------------------------------------------------------------------


@dataclass
class _Made:
    """Calls by name, and a line on each variant that has none."""

    calls: dict[str, Call] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # why, by name
    wrong: list[str] = field(default_factory=list)


def _make(case: Case) -> _Made:
    made = _Made()
    for variant in case.variants:
        try:
            call = variant.make()
            variant.check(call())
            made.calls[variant.name] = call
        except Absent as error:
            made.absent[variant.name] = str(error)
        except Wrong as error:
            made.wrong.append(f"WRONG, not timed: {variant.name}: {error}")
        except Exception as error:  # one that breaks must not end the others
            made.wrong.append(f"FAILED: {variant.name}: {type(error).__name__}: {_line(error)}")
    if case.names[0] not in made.calls:
        made.calls.clear()
        made.wrong.append(f"nothing timed: the base is {case.names[0]}, which is missing")
    return made


def skipped(absent: Mapping[str, str]) -> list[str]:
    """One line for each reason why variants are absent."""
    names: dict[str, list[str]] = {}
    for name, why in absent.items():
        names.setdefault(why, []).append(name)
    return [f"skipped, {why}: {'; '.join(those)}" for why, those in names.items()]


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _figures(case: Case, times: Times) -> Iterator[Figure]:
    """Ratios over each base, and milliseconds."""
    bases = {f"over {case.names[0]}": case.names[0]}
    for over in case.over:
        fastest = _fastest(over, times)
        bases |= {f"over {over.name}": fastest} if fastest else {}
    for name, taken in times.items():
        for quantity, base in bases.items():
            found = ratio(name, taken, times[base])
            yield Figure(name, quantity, found.median, found.low, found.high)
        low, median, high = quartiles([1e3 * each for each in taken])
        yield Figure(name, "ms", median, low, high)


def _fastest(over: Over, times: Times) -> str | None:
    candidates = [name for name in times if name.startswith(over.variants)]
    return min(candidates, key=lambda name: statistics.median(times[name]), default=None)
