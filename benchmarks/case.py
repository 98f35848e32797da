"""A case: a base and its variants. Each variant is built when the case is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.table import CaseResult, Measurement
from benchmarks.timing import Times, measure, quartiles, ratio

Call = Callable[[], Any]


class Absent(Exception):
    """A variant cannot be built on this machine; the message is one line that says why."""


class WrongResult(Exception):
    """A variant computes something else than it should, so that its time says nothing."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        rounds: rounds over all variants.
        seconds: each variant is called repeatedly until its turn takes this long.
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
        build: builds it and returns the call that is timed; raises Absent where it cannot.
        check: called with the result of the first call; raises WrongResult.
    """

    name: str
    build: Callable[[], Call]
    check: Callable[[Any], None] = lambda result: None


@dataclass(frozen=True)
class FurtherBase:
    """A base beside the first variant: the fastest of some variants.

    Attributes:
        name: as it is printed.
        prefix: how the names of these variants begin.
    """

    name: str
    prefix: str


@dataclass(frozen=True)
class Case:
    """Variants that compute the same, timed side by side; the first is the base.

    Attributes:
        group: of cases that ``--only`` selects.
        title: what is measured, in full.
        label: the same in a word or two, for the summary.
        variants: the base first.
        over: further bases.
        max_rounds: an upper limit, for what takes long.
        notes: lines below the table.
    """

    group: str
    title: str
    label: str
    variants: tuple[Variant, ...]
    over: tuple[FurtherBase, ...] = ()
    max_rounds: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(variant.name for variant in self.variants)

    def measure(self, options: Options) -> CaseResult:
        """Build, check and time the variants; the notes name those that cannot be timed."""
        built = _build(self)
        rounds = min(options.rounds, self.max_rounds or options.rounds)
        times = measure(built.calls, rounds, options.seconds)
        notes = [*self.notes, *skipped(built.absent)]
        notes += [f"{rounds} rounds"] if rounds != options.rounds else []
        return CaseResult(
            self.group,
            self.title,
            self.label,
            tuple(_measurements(self, times)),
            tuple(notes),
            tuple(built.wrong),
        )


class Measurable(Protocol):
    """What a group yields: something with a title that can be measured."""

    @property
    def group(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    def measure(self, options: Options) -> CaseResult: ...


# --- measuring a case ----------------------------------------------------------------------------


@dataclass
class _BuiltCase:
    """The variants that can be timed, and why the others cannot.

    Attributes:
        calls: by the variants' names.
        absent: reasons by the variants' names.
        wrong: lines on variants that compute something wrong or break.
    """

    calls: dict[str, Call] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def _build(case: Case) -> _BuiltCase:
    built = _BuiltCase()
    for variant in case.variants:
        try:
            call = variant.build()
            variant.check(call())
            built.calls[variant.name] = call
        except Absent as error:
            built.absent[variant.name] = str(error)
        except WrongResult as error:
            built.wrong.append(f"WRONG, not timed: {variant.name}: {error}")
        except Exception as error:  # one that breaks must not end the others
            message = f"{type(error).__name__}: {_first_line(error)}"
            built.wrong.append(f"FAILED: {variant.name}: {message}")
    if case.names[0] not in built.calls:
        built.calls.clear()
        built.wrong.append(f"nothing timed: the base is {case.names[0]}, which is missing")
    return built


def skipped(absent: Mapping[str, str]) -> list[str]:
    """One line for each reason why variants are absent.

    Args:
        absent: reasons by the variants' names.
    """
    names: dict[str, list[str]] = {}
    for name, reason in absent.items():
        names.setdefault(reason, []).append(name)
    return [f"skipped, {reason}: {'; '.join(those)}" for reason, those in names.items()]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _measurements(case: Case, times: Times) -> Iterator[Measurement]:
    """Ratios over each base, and milliseconds."""
    bases = {f"over {case.names[0]}": case.names[0]}
    for base in case.over:
        fastest = _fastest(base, times)
        bases |= {f"over {base.name}": fastest} if fastest else {}
    for name, seconds in times.items():
        for quantity, base_name in bases.items():
            over = ratio(name, seconds, times[base_name])
            yield Measurement(name, quantity, over.median, over.low, over.high)
        low, median, high = quartiles([1e3 * value for value in seconds])
        yield Measurement(name, "ms", median, low, high)


def _fastest(base: FurtherBase, times: Times) -> str | None:
    candidates = [name for name in times if name.startswith(base.prefix)]
    return min(candidates, key=lambda name: statistics.median(times[name]), default=None)
