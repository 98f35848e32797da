"""The sweep: every plan of a grid, trained in full, in one table.

A search looks for one plan with short runs; a sweep shows a whole landscape with long ones. Several
processes of one sweep share its cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autoquant.analysis.measure_sensitivity import recorded_sensitivity
from autoquant.analysis.model_info import ModelInfo, model_info
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.backend import Compute, computing
from autoquant.budget import readable
from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.paper_size_ratio import paper_size_ratio
from autoquant.costs.size import size
from autoquant.errors import Diverged, RunError, UserError
from autoquant.files import write_text
from autoquant.graph.prepare import prepare
from autoquant.samplers.sweep_plans import sweep_runs
from autoquant.settings import Search, Sweep
from autoquant.study.folder import Baseline, Study
from autoquant.study.sweep_table import SweepRun, SweepRunResult, SweepTable
from autoquant.task import Task, as_loss
from autoquant.training.baseline import float_baseline
from autoquant.training.candidate import Base, train_candidate
from autoquant.training.loop import check_autocast, resolve_device, score

SETTINGS_WITHOUT_EFFECT = frozenset(
    {"budget", "trials", "sampler", "fill", "prune", "references", "qat"}
)
"""Settings of a search that mean nothing here, and may change."""

OnCell = Callable[[Study], None]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        study: its folder.
        baseline: the float model's record.
        results: what became of the cells so far, in the grid's order.
        missing: how many cells other processes are still at.
    """

    study: Study
    baseline: Baseline
    results: tuple[SweepRunResult, ...]
    missing: int

    @property
    def best(self) -> SweepRunResult | None:
        """The cell with the best score on the valid split."""
        direction = self.baseline.direction
        scored = [
            (as_loss(each.valid, direction), each)
            for each in self.results
            if each.valid is not None
        ]
        return min(scored, key=lambda pair: pair[0])[1] if scored else None


def sweep(
    task: Task,
    settings: Search | None = None,
    *,
    sweep: Sweep | None = None,
    study: str | Path,
    origin: Mapping[str, Any] | None = None,
    progress: bool = True,
    on_cell: OnCell | None = None,
) -> SweepResult:
    """Train every plan of a grid in full and write ``cells.csv`` into the study's folder.

    Running it again continues, in the middle of a cell too; a grid that has changed adds its cells
    to the table. Processes that run the same sweep at the same time share its cells.

    Args:
        task: model, data, loss and score.
        settings: as for a search; what SETTINGS_WITHOUT_EFFECT names is of no account.
        sweep: the grid.
        study: the folder; new, or of a sweep with the same settings.
        origin: how the task was configured, to be written into the study (its name when None).
        progress: whether to show progress bars and a line for each cell.
        on_cell: called with the study whenever a cell has been recorded.

    Raises:
        UserError: a setting is wrong, a plan file is not there, or the folder is of another study.
        RunError: the folder cannot be written, or training the float model failed.
    """
    settings, grid = settings or Search(), sweep or Sweep()
    used = {
        name: value
        for name, value in asdict(settings).items()
        if name not in SETTINGS_WITHOUT_EFFECT
    }
    config = {"task": dict(origin or {"name": task.name}), **used, "sweep": asdict(grid)}
    seen = model_info(task, settings, Study(Path(study)))
    cells = sweep_runs(seen, settings, grid)
    device = resolve_device(settings.device)
    for training in (settings.baseline, settings.final):
        check_autocast(training, device)
    folder = Study.create(study, config)
    table = SweepTable.of(folder)
    _refuse_other_plans(cells, table)
    try:
        with computing(Compute(settings.kernel)):
            base, record, sensitivity = _start(task, settings, grid, seen, folder, table, progress)
            if sensitivity is not None:
                cells = sweep_runs(seen, settings, grid, sensitivity)
            return _Sweeping(base, grid, cells, table, folder, record, progress, on_cell).run()
    except OSError as error:
        raise RunError(f"study '{folder.path}' could not be written: {error.strerror}") from error


def _refuse_other_plans(cells: list[SweepRun], table: SweepTable) -> None:
    recorded = table.by_name()
    for cell in (each for each in cells if each.budget is None):
        if cell.name in recorded and recorded[cell.name].cell.plan != cell.plan:
            raise UserError(
                f"plan files must stay as they were trained, got another plan for '{cell.name}'; "
                "give it another name"
            )


def _start(
    task: Task,
    settings: Search,
    grid: Sweep,
    seen: ModelInfo,
    folder: Study,
    table: SweepTable,
    progress: bool,
) -> tuple[Base, Baseline, Sensitivity | None]:
    """The float model; whoever is first trains it while the others wait.

    With budgets, its sensitivity too.
    """
    with table.holding("baseline"):
        write_text(folder.profile_file, seen.profile.to_json())
        device = resolve_device(settings.device)
        trained, record = float_baseline(task, settings, folder, device, progress=progress)
        if grid.test and record.test is None:
            record = replace(record, test=score(trained, task, "test"))
            folder.write_baseline(record)
        base, found = Base(task, prepare(trained), seen.network, settings), None
        if grid.budgets and settings.sensitivity:
            found = recorded_sensitivity(
                base, seen.space, settings.final, folder.sensitivity_file, progress=progress
            )
    return base, record, found


class _Sweeping:
    """One process at a sweep."""

    def __init__(
        self,
        base: Base,
        grid: Sweep,
        cells: list[SweepRun],
        table: SweepTable,
        folder: Study,
        record: Baseline,
        progress: bool,
        on_cell: OnCell | None,
    ) -> None:
        self.base, self.grid, self.cells, self.table = base, grid, cells, table
        self.folder, self.record, self.progress = folder, record, progress
        self.on_cell = on_cell

    def run(self) -> SweepResult:
        """Take one cell after the other that is neither recorded nor in other hands."""
        total = len(self.cells)
        bar = tqdm(total=total, desc="sweep", unit="cell", disable=not self.progress)
        with bar:
            while self._pass(bar):
                pass  # once more: a process that held a cell may have been stopped
        results = self._results()
        return SweepResult(self.folder, self.record, results, total - len(results))

    def _results(self) -> tuple[SweepRunResult, ...]:
        recorded = self.table.by_name()
        return tuple(recorded[cell.name] for cell in self.cells if cell.name in recorded)

    def _pass(self, bar: tqdm[Any]) -> int:
        """Go through the grid once; how many cells were there to take."""
        taken = 0
        for cell in self.cells:
            bar.n = len(self._results())
            taken += self._take(cell)
        bar.n = len(self._results())
        bar.refresh()
        return taken

    def _take(self, cell: SweepRun) -> bool:
        """Train a cell, if it is there to take."""
        if cell.name in self.table.by_name():
            return False
        with self.table.claimed(cell) as mine:
            if not mine or cell.name in self.table.by_name():  # it may have ended in between
                return False
            result = self._train(cell)
            self.table.append(result)
            self.table.checkpoint(cell).unlink(missing_ok=True)
        self._say(result)
        if self.on_cell is not None:
            self.on_cell(self.folder)
        return True

    def _train(self, cell: SweepRun) -> SweepRunResult:
        if cell.plan is None:
            return SweepRunResult(cell, "too large")
        base = self.base.started(cell.start, cell.seed)
        started = time.monotonic()
        training = base.settings.baseline if cell.start == "scratch" else base.settings.final
        sized = self._sized(cell)
        try:
            trained = train_candidate(
                base,
                cell.plan,
                training,
                label=cell.name,
                checkpoint=self.table.checkpoint(cell),
                progress=self.progress,
            )
            test = score(trained.model, base.task, "test") if self.grid.test else None
        except Diverged as error:
            seconds = time.monotonic() - started
            return replace(sized, state="diverged", reason=str(error), seconds=seconds)
        run = trained.run
        return replace(sized, valid=trained.score, test=test, steps=run.steps, seconds=run.seconds)

    def _sized(self, cell: SweepRun) -> SweepRunResult:
        """A cell with what is known before it is trained."""
        assert cell.plan is not None
        network = self.base.network
        scheme = self.base.settings.quantizer
        size_bytes = int(size.of(network, cell.plan, scheme))
        return SweepRunResult(
            cell,
            "complete",
            size_bytes=size_bytes,
            size_share=size_bytes / self.record.size_bytes,
            paper_share=paper_size_ratio.of(network, cell.plan, scheme),
            activation_bytes=activation_memory.of(network, cell.plan, scheme),
        )

    def _say(self, result: SweepRunResult) -> None:
        if not self.progress:
            return
        size = "" if result.size_bytes is None else readable(result.size_bytes)
        share = "" if result.size_share is None else f"({result.size_share:.4f}x)"
        valid = "-" if result.valid is None else f"{result.valid:.4g}"
        tqdm.write(
            f"{result.cell.name:<24} {size:>8} {share}  {self.record.metric} {valid:>7}  "
            f"{result.state}"
        )
