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

from benchmarks import (
    exports,
    inference,
    language_model,
    machine,
    memory,
    recurrent,
    stability,
    table,
)
from benchmarks.case import Measurable, Options

GROUPS: dict[str, ModuleType] = {
    module.GROUP: module
    for module in (recurrent, language_model, inference, stability, memory, exports)
}
RESULTS = Path(__file__).parent / "results"


@dataclass
class Selection:
    """Which cases are measured.

    Attributes:
        groups: keys of GROUPS.
        match: what their titles contain, in any case of letters.
    """

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
        groups = [] if list(self.groups) == list(GROUPS) else list(self.groups)
        return re.sub(r"[^a-z0-9]+", "-", " ".join([*groups, self.match]).lower()).strip("-")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command_line = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=ABOUT,
        epilog="groups:\n" + "\n".join(f"  {name:<16}{m.ABOUT}" for name, m in GROUPS.items()),
    )
    groups = {"nargs": "+", "choices": list(GROUPS), "default": list(GROUPS), "metavar": "GROUP"}
    add: Any = command_line.add_argument
    add("--rounds", type=_integer_from(2), default=15, help="rounds over all variants; default 15")
    add("--only", **groups, help="groups to run; default all")
    add("--match", default="", metavar="TEXT", help="only cases with this in their title")
    add("--threads", type=_integer_from(1), default=1, help="threads of every variant; default 1")
    add("--seconds", type=float, default=0.05, help=SECONDS)
    add("--output", type=Path, default=RESULTS, metavar="FOLDER", help="default benchmarks/results")
    add("--list", action="store_true", help="print the cases and their variants, measure nothing")
    return command_line


ABOUT = """\
Time variants side by side: in each round every variant has its turn, and its time is divided by
the base's in the same round. Medians and quartiles over rounds are printed and written to a
Markdown and a CSV file. Peers that are not installed are skipped."""
SECONDS = "a variant is called repeatedly until its turn takes this long; default 0.05"


def _integer_from(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where a variant computed something wrong.

    Args:
        arguments: of the command line; those of the process by default.
    """
    options = parser().parse_args(arguments)
    selection = Selection([name for name in GROUPS if name in options.only], options.match)
    if options.list:
        print("\n".join(_listed(selection.cases())))
        return 0
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")  # peers warn a lot
    facts = machine.facts(options.threads)
    facts.append(f"command: python -m benchmarks {' '.join(arguments or sys.argv[1:])}".strip())
    print("\n".join(facts))
    results = []
    for result in _measure(selection, Options(options.rounds, options.seconds, options.threads)):
        results.append(result)
        name = "-".join(filter(None, (machine.slug(options.threads), selection.slug)))
        _write(options.output, name, facts, results)
    return 1 if any(result.wrong for result in results) else 0


def _listed(cases: Iterator[Measurable]) -> Iterator[str]:
    for case in cases:
        yield f"{case.group}: {case.title}"
        yield from (f"    {name}" for name in case.names)


def _measure(selection: Selection, options: Options) -> Iterator[table.CaseResult]:
    for case in selection.cases():
        result = case.measure(options)
        print(f"\n[{case.group}] {table.section(result, table.plain_text)}", flush=True)
        yield result


def _write(folder: Path, name: str, facts: list[str], results: list[table.CaseResult]) -> None:
    """Write the report so far, so that a run that is stopped leaves what it has measured.

    Args:
        folder: for the report.
        name: of the files, after the date.
        facts: about the machine, one line each.
        results: of the cases measured so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    today = date.today().isoformat()
    report = table.report(facts, results, f"Benchmarks, {today}, {machine.cpu_name()}")
    (folder / f"{today}-{name}.md").write_text(report)
    (folder / f"{today}-{name}.csv").write_text(table.to_csv(results))


if __name__ == "__main__":
    sys.exit(main())
