"""What the page of a sweep shows."""

from __future__ import annotations

from collections.abc import Sequence

from autoquant.figures.curves import size_curves, width_curves
from autoquant.figures.heatmap import heatmap_data
from autoquant.figures.sweep_data import SweepData, read_sweep_data
from autoquant.report_page.content import (
    PageContent,
    cost_counter,
    layers_part,
    rows_of_plans,
    shared_parts,
)
from autoquant.report_page.header import header
from autoquant.report_page.next_commands import after_sweep
from autoquant.report_page.part import Part, part
from autoquant.report_page.results import best_plan, sweep_rows
from autoquant.report_page.sweep_charts import heatmaps, size_chart, width_chart
from autoquant.report_page.sweep_rows import swept_ids, swept_rows
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepRunResult, SweepTable


def sweep_content(study: Study) -> PageContent:
    """Read what the page of a sweep shows.

    Args:
        study: of a sweep.

    Raises:
        UserError: no run of the sweep has ended, or a main file is not what it should be.
    """
    data, results = read_sweep_data(study), SweepTable.of(study).results()
    ids, best = swept_ids(data), _best_run(data, results)
    seconds = sum(result.seconds for result in results)
    shared = shared_parts(study, data.baseline, None, seconds)
    applied = shared["applied"].content or ()
    counter = cost_counter(study)
    swept = swept_rows(data, results, rows_of_plans(study, counter.content))
    rows = sweep_rows(data, applied, swept)
    plans = [] if best is None or best.run.plan is None else [(_title(best), best.run.plan)]
    name = None if best is None else best.run.name
    return PageContent(
        header(study, "sweep", data.baseline, _facts(data, results), rows),
        {
            **shared,
            "results": Part(rows),
            "sizes": part(
                lambda: size_chart(size_curves(data), data, ids), "No run of the sweep is complete."
            ),
            "widths": part(lambda: width_chart(width_curves(data), data, ids), ""),
            "heatmaps": part(lambda: heatmaps(heatmap_data(data)), "No run of a grid has a score."),
            "runs": Part(swept),
            "layers": layers_part(counter, plans),
            "next": part(lambda: after_sweep(study, name, applied), ""),
        },
    )


def _best_run(data: SweepData, results: Sequence[SweepRunResult]) -> SweepRunResult | None:
    """The first run of the best plan; None where no run has a score."""
    best = best_plan(data)
    return next((each for each in results if best and each.run.group == best.name), None)


def _title(run: SweepRunResult) -> str:
    return f"{run.run.group}, the best plan of the sweep"


def _facts(data: SweepData, results: Sequence[SweepRunResult]) -> tuple[str, ...]:
    """How many plans, runs and seeds there are, in words."""
    seeds = len({result.run.seed for result in results})
    return (
        f"{len(data.plans)} plans",
        f"{len(results)} runs",
        "1 seed" if seeds == 1 else f"{seeds} seeds",
    )
