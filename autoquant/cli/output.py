"""What commands print when they are done: layers of a profile, results of a search or a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoquant.budget import readable

if TYPE_CHECKING:
    from rich.table import Table

    from autoquant.analysis.profile import LayerProfile, Profile
    from autoquant.commands.apply import Applied
    from autoquant.commands.search import SearchResult
    from autoquant.commands.sweep import SweepResult
    from autoquant.space.layer_overrides import LayerOverride, LayerOverrides


def print_profile(profile: Profile, overrides: LayerOverrides | None = None) -> None:
    """Print the table of layers, and for each layer whether it may grow and the reason.

    Args:
        profile: of the model.
        overrides: choices that the rules give to layers, which are printed too.
    """
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:  # rich itself ends the process when a pipe is closed
        console.print(_layer_table(profile))
        console.print(
            "x1.25, x1.5, x2: float bytes that widening adds to the layer and to those that read it"
            "\n"
        )
        console.print(_sentence(str(profile.coverage)), soft_wrap=True, markup=False)
        for layer in profile.layers:
            for line in _growth_lines(layer, (overrides or {}).get(layer.name, {})):
                console.print(line, soft_wrap=True, markup=False)
    print(captured.get(), end="")


def _sentence(text: str) -> str:
    """A text with a capital at its start, and an empty line after it."""
    return f"{text[:1].upper()}{text[1:]}\n"


def _layer_table(profile: Profile) -> Table:
    from rich import box
    from rich.table import Table

    from autoquant.analysis.profile import PROFILED_WIDTHS

    table = Table(
        title=f"{profile.parameters:,} parameters, largest layers first",
        box=box.SIMPLE,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", overflow="fold")
    counts = ("parameters", "share", f"MACs/{profile.unit}")
    for heading in (*counts, *(f"x{width:g}" for width in PROFILED_WIDTHS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in profile.layers:
        growth = [f"+{readable(step.added_bytes)}" for step in layer.growth] or ["-"] * 3
        numbers = (f"{layer.parameters:,}", f"{layer.share:.1%}", f"{layer.macs:,}")
        table.add_row(layer.name, *numbers, *growth)
    return table


def _growth_lines(layer: LayerProfile, overrides: Mapping[str, LayerOverride]) -> list[str]:
    """Whether a layer may grow, and the choices that rules give to it, by field."""
    from autoquant.space.layer_overrides import NO_GROWTH

    verdict, reason = "may grow" if layer.widenable else "stays", layer.reason
    if "width" in overrides:
        width = overrides["width"]
        verdict = "stays" if width.choices == NO_GROWTH else "may grow"
        reason = f"rules.{width.pattern}.width"
    lines = [f"{layer.name} ({layer.kind}, {layer.shape}) {verdict}: {reason}"]
    for field, override in overrides.items():
        choices = ", ".join(f"{value:g}" for value in override.choices)
        lines.append(f"  {field}: {choices} (rules.{override.pattern})")
    return lines


def print_search(result: SearchResult, figures: list[Path]) -> None:
    """Print scores and sizes of the float model, the references and the best plan.

    Args:
        result: of the search.
        figures: paths of the figures that were drawn.
    """
    from autoquant.study.outcome import complete

    record, study, best = result.baseline, result.study, result.best

    def line(name: str, score: float | None, size: int) -> str:
        share = size / record.size_bytes
        return f"  {name:<22} {record.metric} {score:<10.5g} {readable(size):>8}  ({share:.4f}x)"

    print(line("float baseline", record.score, record.size_bytes))
    for outcome in complete(result.outcomes):
        if outcome.role == "reference":
            print(line(f"uniform {outcome.trial[1:]}-bit", outcome.score, outcome.size_bytes))
    if best is not None:
        print(line(f"best plan, trial {best.trial}", best.score, best.size_bytes))
    print(f"  budget {result.budget_bytes} bytes; short training, validation split")
    pareto = next((path for path in figures if path.name == "pareto.png"), None)
    print(f"Pareto plot: {pareto}")
    if best is not None:
        print(f"plan:        {study.plan_file}")
        print(f"next:        autoquant apply {_argument('study', study.path)}")


def print_sweep(result: SweepResult, figures: list[Path]) -> None:
    """Print the float model and the runs of a sweep as a table, and the paths of the files.

    Args:
        result: of the sweep.
        figures: paths of the figures that were drawn.
    """
    _print_runs(result)
    if result.missing:
        runs = "1 run is" if result.missing == 1 else f"{result.missing} runs are"
        print(f"  {runs} being trained by other processes")
    print(f"table:   {result.study.runs_file}")
    for path in figures:
        if path.suffix == ".png":
            print(f"figure:  {path}")
    if result.best is not None:
        trial = shlex.quote(f"trial={result.best.run.name}")
        print(f"next:    autoquant apply {_argument('study', result.study.path)} {trial}")


def _print_runs(result: SweepResult) -> None:
    record = result.baseline
    wide = max([24, *(len(row.run.name) for row in result.results)])

    def line(name: str, size: int | None, *scores: float | None, state: str = "") -> str:
        share = "-" if size is None else f"{size / record.size_bytes:.4f}x"
        columns = (f"{'-' if score is None else f'{score:.5g}':>10}" for score in scores)
        count = "-" if size is None else size
        return f"  {name:<{wide}} {count:>10} {share:>8} {' '.join(columns)}  {state}".rstrip()

    print(
        f"  {record.metric} by run; bytes of the packed file, and their share of the float model's"
    )
    print(f"  {'':<{wide}} {'bytes':>10} {'share':>8} {'valid':>10} {'test':>10}  state")
    print(line("float baseline", record.size_bytes, record.score, record.test))
    for row in result.results:
        print(line(row.run.name, row.size_bytes, row.valid, row.test, state=row.state))


def print_applied(applied: Applied) -> None:
    """Print scores and costs of the packed plan next to those of the float model.

    Args:
        applied: the plan, trained and packed.
    """
    plan, base = applied.costs, applied.baseline_costs
    valid, test = f"{applied.metric}, valid", f"{applied.metric}, test"
    rows = (
        (valid, f"{applied.baseline_valid:.4f}", f"{applied.valid:.4f}"),
        (test, f"{applied.baseline_test:.4f}", f"{applied.test:.4f}"),
        ("size", readable(base.size_bytes), readable(plan.size_bytes)),
        ("activations read", readable(base.activation_bytes), readable(plan.activation_bytes)),
        ("MACs", f"{base.macs:,}", f"{plan.macs:,}"),
        ("bit-operations", f"{base.bit_ops:,}", f"{plan.bit_ops:,}"),
    )
    print(f"  {'':<20} {'float baseline':>16} {'packed plan':>16}")
    for name, before, after in rows:
        print(f"  {name:<20} {before:>16} {after:>16}")
    share = plan.size_bytes / base.size_bytes
    if applied.breakdown is not None:
        print(f"  of the file: {applied.breakdown}")
    print(f"  the file has {plan.size_bytes} bytes, {share:.4f}x; activations and operations are")
    print("  for one position; the paper's neuron-proportional size would be", end=" ")
    print(f"{plan.paper_size_ratio:.4f}x")
    print(f"packed file: {applied.artifact}")
    print(f"next:        autoquant evaluate {_argument('artifact', applied.artifact)}")


def _argument(key: str, path: Path) -> str:
    """``key=path``, quoted for a shell."""
    return shlex.quote(f"{key}={path}")
