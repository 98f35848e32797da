"""What commands print when they are done: the layer table, the outcome of a search or an apply."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from autoquant.budget import readable

if TYPE_CHECKING:
    from autoquant.analysis.profile import Profile
    from autoquant.commands.apply import Applied
    from autoquant.commands.search import SearchResult
    from autoquant.commands.sweep import SweepResult
    from autoquant.space.layer_overrides import LayerOverrides


def print_profile(profile: Profile, rulings: LayerOverrides | None = None) -> None:
    """The layer table; for each layer whether it may grow and why, and what rules leave it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from autoquant.analysis.profile import GROWTHS
    from autoquant.space.layer_overrides import NO_GROWTH

    table = Table(
        title=f"{profile.parameters:,} parameters, largest layers first",
        box=box.SIMPLE,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", overflow="fold")
    counts = ("parameters", "share", f"MACs/{profile.unit}")
    for heading in (*counts, *(f"x{width:g}" for width in GROWTHS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in profile.layers:
        growth = [f"+{readable(each.added_bytes)}" for each in layer.growth] or ["-"] * 3
        numbers = (f"{layer.parameters:,}", f"{layer.share:.1%}", f"{layer.macs:,}")
        table.add_row(layer.name, *numbers, *growth)
    console = Console(highlight=False)
    with console.capture() as captured:  # rich itself would end the process when a pipe breaks
        console.print(table)
        console.print(
            "x1.25, x1.5, x2: float bytes that growing the layer adds, its readers included\n"
        )
        for layer in profile.layers:
            verdict, reason = "may grow" if layer.widenable else "stays", layer.reason
            ruled = (rulings or {}).get(layer.name, {})
            if "width" in ruled:
                width = ruled["width"]
                verdict = "stays" if width.choices == NO_GROWTH else "may grow"
                reason = f"rules.{width.pattern}.width"
            what = f"{layer.name} ({layer.kind}, {layer.shape})"
            console.print(f"{what} {verdict}: {reason}", soft_wrap=True, markup=False)
            for field, ruling in ruled.items():
                choices = ", ".join(f"{value:g}" for value in ruling.choices)
                line = f"  {field}: {choices} (rules.{ruling.pattern})"
                console.print(line, soft_wrap=True, markup=False)
    print(captured.get(), end="")


def print_search(result: SearchResult, figures: list[Path]) -> None:
    """Baseline, uniform references and best plan; where the results lie and what to type next."""
    from autoquant.study.outcome import complete

    record, study = result.baseline, result.study
    metric = record.metric

    def line(name: str, score: float | None, size: int) -> str:
        share = size / record.size_bytes
        return f"  {name:<22} {metric} {score:<10.5g} {readable(size):>8}  ({share:.4f}x)"

    print(line("float baseline", record.score, record.size_bytes))
    for outcome in complete(result.outcomes):
        if outcome.role == "reference":
            print(line(f"uniform {outcome.trial[1:]}-bit", outcome.score, outcome.size_bytes))
    if result.best is not None:
        best = result.best
        print(line(f"best plan, trial {best.trial}", best.score, best.size_bytes))
    print(f"  budget {result.budget_bytes} bytes; short training, validation split")
    pareto = next((path for path in figures if path.name == "pareto.png"), None)
    print(f"Pareto plot: {pareto}")
    if result.best is not None:
        print(f"plan:        {study.plan_file}")
        print(f"next:        autoquant apply {_argument('study', study.path)}")


def print_sweep(result: SweepResult, figures: list[Path]) -> None:
    """The float model, then the cells as they stand in the table; where the figures lie."""
    record = result.baseline
    wide = max([24, *(len(each.cell.name) for each in result.results)])
    print(f"  {record.metric} by cell; sizes are true ones, over the float model's")
    print(f"  {'':<{wide}} {'bytes':>10} {'share':>8} {'valid':>10} {'test':>10}  state")

    def line(name: str, size: int | None, *scores: float | None, state: str = "") -> str:
        share = "-" if size is None else f"{size / record.size_bytes:.4f}x"
        shown = (f"{'-' if each is None else f'{each:.5g}':>10}" for each in scores)
        count = "-" if size is None else size
        return f"  {name:<{wide}} {count:>10} {share:>8} {' '.join(shown)}  {state}".rstrip()

    print(line("float baseline", record.size_bytes, record.score, record.test))
    for each in result.results:
        print(line(each.cell.name, each.size_bytes, each.valid, each.test, state=each.state))
    if result.missing:
        cells = "1 cell is" if result.missing == 1 else f"{result.missing} cells are"
        print(f"  {cells} being trained by other processes")
    print(f"table:   {result.study.cells_file}")
    for path in figures:
        if path.suffix == ".png":
            print(f"figure:  {path}")
    if result.best is not None:
        trial = shlex.quote(f"trial={result.best.cell.name}")
        print(f"next:    autoquant apply {_argument('study', result.study.path)} {trial}")


def print_applied(applied: Applied) -> None:
    """Float model against packed plan."""
    plan, base = applied.costs, applied.baseline_costs
    rows = (
        (
            applied.metric + ", valid",
            *(f"{x:.4f}" for x in (applied.baseline_valid, applied.valid)),
        ),
        (applied.metric + ", test", *(f"{x:.4f}" for x in (applied.baseline_test, applied.test))),
        ("size", readable(base.size_bytes), readable(plan.size_bytes)),
        ("activations read", *(readable(c.activation_bytes) for c in (base, plan))),
        ("MACs", f"{base.macs:,}", f"{plan.macs:,}"),
        ("bit-operations", f"{base.bit_ops:,}", f"{plan.bit_ops:,}"),
    )
    print(f"  {'':<20} {'float baseline':>16} {'packed plan':>16}")
    for name, before, after in rows:
        print(f"  {name:<20} {before:>16} {after:>16}")
    share = plan.size_bytes / base.size_bytes
    print(f"  the file has {plan.size_bytes} bytes, {share:.4f}x; activations and operations are")
    print("  for one position; the paper's neuron-proportional size would be", end=" ")
    print(f"{plan.paper_size_ratio:.4f}x")
    print(f"packed file: {applied.artifact}")
    print(f"next:        autoquant evaluate {_argument('artifact', applied.artifact)}")


def _argument(key: str, path: Path) -> str:
    """``key=path`` as it can be pasted into a shell."""
    return shlex.quote(f"{key}={path}")
