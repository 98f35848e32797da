"""``python -m benchmarks``: measure, print, and write a report into benchmarks/results."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks import inference, language_model, machine, memory, recurrent, stability, table
from benchmarks.case import Measurable, Options

GROUPS: dict[str, ModuleType] = {
    module.GROUP: module for module in (recurrent, language_model, inference, stability, memory)
}
RESULTS = Path(__file__).parent / "results"


@dataclass
class Selection:
    """Which cases: of these groups, and with this in their title."""

    groups: Sequence[str]
    match: str

    def cases(self) -> Iterator[Measurable]:
        for group in self.groups:
            for case in GROUPS[group].cases():
                if self.match.lower() in case.title.lower():
                    yield case

    @property
    def slug(self) -> str:
        """Names what a file leaves out; empty where it leaves out nothing."""
        some = [] if list(self.groups) == list(GROUPS) else list(self.groups)
        return re.sub(r"[^a-z0-9]+", "-", " ".join([*some, self.match]).lower()).strip("-")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=ABOUT,
        epilog="groups:\n" + "\n".join(f"  {name:<16}{m.ABOUT}" for name, m in GROUPS.items()),
    )
    groups = {"nargs": "+", "choices": list(GROUPS), "default": list(GROUPS), "metavar": "GROUP"}
    add: Any = made.add_argument
    add("--rounds", type=_at_least(2), default=15, help="rounds over all variants; default 15")
    add("--only", **groups, help="groups to run; default all")
    add("--match", default="", metavar="TEXT", help="only cases with this in their title")
    add("--threads", type=_at_least(1), default=1, help="threads of every variant; default 1")
    add("--seconds", type=float, default=0.05, help=SECONDS)
    add("--output", type=Path, default=RESULTS, metavar="FOLDER", help="default benchmarks/results")
    add("--list", action="store_true", help="print the cases and their variants, measure nothing")
    return made


ABOUT = """\
Time variants side by side: in each round every variant has its turn, and its time is divided by
the base's in the same round. Medians and quartiles over rounds are printed and written to a
Markdown and a CSV file. Peers that are not installed are skipped."""
SECONDS = "a variant is called again until its turn has taken this long; default 0.05"


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where a variant computed something wrong."""
    given = parser().parse_args(arguments)
    chosen = Selection([name for name in GROUPS if name in given.only], given.match)
    if given.list:
        print("\n".join(_listed(chosen.cases())))
        return 0
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore")  # peers warn a lot
    facts = machine.facts(given.threads)
    facts.append(f"command: python -m benchmarks {' '.join(arguments or sys.argv[1:])}".strip())
    print("\n".join(facts))
    options = Options(given.rounds, given.seconds, given.threads)
    outcomes = []
    for outcome in _measured(chosen, options):
        outcomes.append(outcome)
        _write(given.output, chosen.slug, facts, outcomes, given.threads)
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def _listed(cases: Iterator[Measurable]) -> Iterator[str]:
    for case in cases:
        yield f"{case.group}: {case.title}"
        yield from (f"    {name}" for name in case.names)


def _measured(chosen: Selection, options: Options) -> Iterator[table.Outcome]:
    for case in chosen.cases():
        outcome = case.measure(options)
        print(f"\n[{case.group}] {table.section(outcome, table.text)}", flush=True)
        yield outcome


def _write(
    folder: Path, part: str, facts: list[str], outcomes: list[table.Outcome], threads: int
) -> None:
    """The report so far, so that a run that is stopped leaves what it has."""
    folder.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    name = "-".join(each for each in (today, machine.slug(threads), part) if each)
    report = table.report(facts, outcomes, f"Benchmarks, {today}, {machine.cpu_name()}")
    (folder / f"{name}.md").write_text(report)
    (folder / f"{name}.csv").write_text(table.table(outcomes))


if __name__ == "__main__":
    sys.exit(main())
