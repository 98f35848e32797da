"""Sweep: every plan of a grid, trained in full, in one table.

A search looks for one plan with short runs; a sweep shows how plans of all sizes score after long
ones. Several processes of one sweep share its runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autoquant.analysis.measure_sensitivity import load_or_measure_sensitivity
from autoquant.analysis.model_info import SearchInfo, inspect_search
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.artifact.manifest import breakdown
from autoquant.backend import Compute, computing
from autoquant.budget import readable
from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.paper_size_ratio import paper_size_ratio
from autoquant.costs.size import size
from autoquant.errors import UserError
from autoquant.files import write_text
from autoquant.graph.prepare import prepare
from autoquant.graph.randomness import random_state_kept
from autoquant.plan import LayerChoice
from autoquant.progress_bar import print_notes, tqdm
from autoquant.samplers.sweep_plans import sweep_runs
from autoquant.settings import Search, Sweep, constructed, require, settings_for
from autoquant.space.search_space import SearchSpace, weight_bits_only
from autoquant.study.folder import BaselineRecord, Study
from autoquant.study.sweep_table import SweepRun, SweepRunResult, SweepTable
from autoquant.study.trust import remember
from autoquant.table import Column, Table, Tabular
from autoquant.task import Task, as_loss, check_task
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.callbacks import OnStep, check_callbacks, in_turn
from autoquant.training.candidate import StartingPoint, failure_of, train_candidate
from autoquant.training.device import (
    check_autocast,
    release_memory,
    resolve_device,
)
from autoquant.training.float_model import check_new_weights
from autoquant.training.recognise import refuse_another_metric
from autoquant.training.scoring import score
from autoquant.training.tensorboard_log import TensorBoardLog, check_tensorboard, open_log
from autoquant.training.weights import plain_settings

SETTINGS_WITHOUT_EFFECT = frozenset(
    {"budget", "loss", "score", "trials", "workers", "threads", "sampler", "fill", "references"}
    | {"qat", "rounds", "limits"}
)
"""Settings of a search that have no effect on a sweep, and may change between two calls."""

OnRun = Callable[[Study], None]
"""Called with the study whenever the result of a run has been recorded."""


@dataclass(frozen=True)
class SweepResult(Tabular):
    """What a sweep found.

    Attributes:
        study: its folder.
        baseline: the float model's record.
        results: of the runs that have ended so far, in the grid's order.
        missing: number of runs that other processes still train.
        figures: files of the figures, where they were drawn.
    """

    study: Study
    baseline: BaselineRecord
    results: tuple[SweepRunResult, ...]
    missing: int
    figures: tuple[Path, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The runs, and the plan of the best one where there is one."""
        plan = None if self.best is None else self.best.run.plan
        return _run_table(self), *(() if plan is None else plan.tables)

    @property
    def best(self) -> SweepRunResult | None:
        """The result with the best score on the valid split; None where no run has one."""
        direction = self.baseline.direction
        scored = [
            (as_loss(result.valid, direction), result)
            for result in self.results
            if result.valid is not None
        ]
        return min(scored, key=lambda pair: pair[0])[1] if scored else None


@random_state_kept()
def sweep(
    task: Task,
    settings: Search | None = None,
    *,
    sweep: Sweep | None = None,
    study: str | Path | Study,
    origin: Mapping[str, Any] | None = None,
    progress: bool = True,
    report: bool = False,
    on_run: OnRun | None = None,
    on_step: OnStep | None = None,
) -> SweepResult:
    """Train every plan of a grid in full and write ``runs.csv`` into the study's folder.

    A second call with the same folder continues, in the middle of a run too; a grid that has
    changed adds its runs to the table. Processes that run the same sweep at the same time share its
    runs. What a callback raises ends the sweep.

    Args:
        task: model, data, loss and score.
        settings: as for a search: fields that are not named take what the task prefers, else their
            defaults; those that SETTINGS_WITHOUT_EFFECT lists are not used.
        sweep: the grid: bits, widths, budgets, plan files and seeds; the default one when None.
        study: the folder; new, or of a sweep with the same settings.
        origin: how the task was configured, to be written into the study (its name when None).
        progress: whether to show progress bars and a line for each run.
        report: whether to draw the figures into the study after every run, and to print the result
            at the end.
        on_run: called with the study whenever the result of a run has been recorded.
        on_step: called with a StepResult after each training step of the float model and of the
            runs, of those that this process trains; not for the steps that an earlier call has
            done.

    Raises:
        UserError: a setting is wrong, a plan file is not there, or the folder is of another study.
        RunError: the folder cannot be written, or training the float model failed.
    """
    check_task(task)
    settings, grid = settings_for(task, settings), Sweep() if sweep is None else sweep
    write = f"sweep={constructed(Sweep, grid)}"
    require(isinstance(grid, Sweep), "sweep must be an autoquant.Sweep", grid, write)
    check_callbacks(on_run=on_run, on_step=on_step)
    check_tensorboard(settings.tensorboard)
    info = inspect_search(task, settings, Study.at(study))
    refuse_another_metric(task, Study.at(study))
    runs = sweep_runs(info, settings, grid)
    if grid.init_from == "scratch":
        check_new_weights(task)
    device = resolve_device(settings.device)
    for training in (settings.baseline, settings.final):
        check_autocast(training, device)
    config = _config(task, settings, grid, origin)
    folder = Study.create(study, config)
    remember(config)
    table = SweepTable.of(folder)
    _refuse_other_plans(runs, table)
    reporting = _Reporting(progress, _drawing(on_run) if report else on_run, on_step)
    with (
        computing(Compute(settings.kernel)),
        open_log(settings.tensorboard, folder.tensorboard) as log,
    ):
        reporting = reporting.logged(log)
        folder.clean()
        with table.locked("baseline"):  # the first process trains it while the others wait
            starting_point, record = _baseline(task, settings, grid, info, folder, reporting)
            sensitivity = _sensitivity(starting_point, runs, info, folder, progress)
        if sensitivity is not None:
            runs = sweep_runs(info, settings, grid, sensitivity)
        result = _Runs(starting_point, grid, runs, folder, record, reporting, info.space).train()
    return _reported(result) if report else result


@dataclass(frozen=True)
class _Reporting:
    """What is told about the runs while they are trained.

    Attributes:
        progress: whether to show progress bars and a line for each run.
        on_run: called with the study whenever the result of a run has been recorded.
        on_step: called after each training step.
        on_result: called with the result of each run that this process has recorded.
    """

    progress: bool
    on_run: OnRun | None
    on_step: OnStep | None
    on_result: Callable[[SweepRunResult], None] | None = None

    def logged(self, log: TensorBoardLog | None) -> _Reporting:
        """The same, with a log that is written before the user's functions are called.

        Args:
            log: None where there is none.
        """
        if log is None:
            return self
        return replace(self, on_step=in_turn(log.on_step, self.on_step), on_result=log.on_run)


def _drawing(on_run: OnRun | None) -> OnRun:
    """A callback that draws the figures before it calls the user's."""
    from autoquant.figures.study_figures import draw_study  # matplotlib is slow to import

    def draw(study: Study) -> None:
        draw_study(study)
        if on_run is not None:
            on_run(study)

    return draw


def _reported(result: SweepResult) -> SweepResult:
    """The result, printed, with its figures drawn."""
    from autoquant.figures.study_figures import draw_study

    figures = draw_study(result.study) if result.results else ()
    result = replace(result, figures=tuple(figures))
    print(result)
    return result


def _run_table(result: SweepResult) -> Table:
    """A row each for the float model and the runs."""
    record, best = result.baseline, result.best
    rows = [_run_row("float baseline", record.size_bytes, record, (record.score, record.test))]
    rows += [
        _run_row(row.run.name, row.size_bytes, record, (row.valid, row.test), row.state)
        for row in result.results
    ]
    notes = [] if best is None else [f"best run: {best.run.name}"]
    if result.missing:
        runs = "1 run is" if result.missing == 1 else f"{result.missing} runs are"
        notes.append(f"{runs} being trained by other processes")
    figures = (f"figure: {path}" for path in result.figures if path.suffix == ".png")
    return Table(
        f"{record.metric} by run; bytes of the packed file, and their share of the float model's",
        (
            Column("run", "left"),
            *map(Column, ("bytes", "share", "valid", "test")),
            Column("state", "left"),
        ),
        tuple(rows),
        (*notes, f"study: {result.study.path}", *figures),
    )


def _run_row(
    name: str,
    size_bytes: int | None,
    record: BaselineRecord,
    scores: tuple[float | None, ...],
    state: str = "",
) -> tuple[str, ...]:
    """A row of the table.

    Args:
        name: of the run, or of the float model.
        size_bytes: of its file; None where no plan fits its budget.
        record: of the float model, over whose bytes the share is.
        scores: on the valid and the test split; None where there is none.
        state: of the run.
    """
    share = "-" if size_bytes is None else f"{size_bytes / record.size_bytes:.4f}x"
    written = ("-" if value is None else f"{value:.5g}" for value in scores)
    return name, "-" if size_bytes is None else str(size_bytes), share, *written, state


def _config(
    task: Task, settings: Search, grid: Sweep, origin: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The configuration that is written into the study.

    Args:
        task: of the sweep.
        settings: those without effect are left out.
        grid: of the sweep.
        origin: how the task was configured.
    """
    used = {
        name: value
        for name, value in plain_settings(settings).items()
        if name not in SETTINGS_WITHOUT_EFFECT
    }
    return {"task": dict(origin or {"name": task.name}), **used, "sweep": asdict(grid)}


def _refuse_other_plans(runs: list[SweepRun], table: SweepTable) -> None:
    """Raise a UserError where a plan file has changed since its plan was trained."""
    recorded = table.by_name()
    for run in (run for run in runs if run.budget is None):
        if run.name in recorded and recorded[run.name].run.plan != run.plan:
            raise UserError(
                f"plan files must stay as they were trained, got another plan for '{run.name}'; "
                "give it another name"
            )


def _baseline(
    task: Task,
    settings: Search,
    grid: Sweep,
    info: SearchInfo,
    folder: Study,
    reporting: _Reporting,
) -> tuple[StartingPoint, BaselineRecord]:
    """The float model and its record, with a score on the test split where that is asked for.

    Args:
        task: of the sweep.
        settings: of the sweep.
        grid: of the sweep.
        info: of the float model.
        folder: of the study.
        reporting: what is told about the training.
    """
    print_notes(info.notes, progress=reporting.progress)
    write_text(folder.profile_file, info.profile.to_json())
    device = resolve_device(settings.device)
    trained, record = load_or_train_baseline(
        task, settings, folder, device, progress=reporting.progress, on_step=reporting.on_step
    )
    if grid.test and record.test is None:
        record = replace(record, test=score(trained, task, "test"))
        folder.write_baseline(record)
    return StartingPoint(task, prepare(trained), info.network, settings), record


def _sensitivity(
    starting_point: StartingPoint,
    runs: Sequence[SweepRun],
    info: SearchInfo,
    folder: Study,
    progress: bool,
) -> Sensitivity | None:
    """The sensitivity near the first budget that a plan fits, where plans are to fill budgets.

    Args:
        starting_point: the float model and the settings.
        runs: of the sweep, with bits that are as even as possible.
        info: of the float model.
        folder: of the study.
        progress: whether to show progress bars.
    """
    settings = starting_point.settings
    reference = next((run.plan for run in runs if run.budget and run.plan is not None), None)
    if reference is None or not settings.sensitivity:
        return None
    return load_or_measure_sensitivity(
        starting_point,
        info.space,
        settings.final,
        folder.sensitivity_file,
        reference,
        progress=progress,
    )


class _Runs:
    """The runs of a sweep, as one process trains them.

    Args:
        starting_point: the float model and the settings.
        grid: of the sweep.
        runs: of the grid.
        folder: of the study.
        record: of the float model.
        reporting: what is told about the runs.
        space: of the model; tells why no plan fits a budget.
    """

    def __init__(
        self,
        starting_point: StartingPoint,
        grid: Sweep,
        runs: list[SweepRun],
        folder: Study,
        record: BaselineRecord,
        reporting: _Reporting,
        space: SearchSpace,
    ) -> None:
        self.starting_point, self.grid, self.runs = starting_point, grid, runs
        self.table, self.folder, self.record = SweepTable.of(folder), folder, record
        self.reporting, self.space = reporting, space

    def train(self) -> SweepResult:
        """Train one run after the other that is not recorded and not trained elsewhere."""
        total = len(self.runs)
        bar = tqdm(total=total, desc="sweep", unit="run", disable=not self.reporting.progress)
        with bar:
            while self._train_available(bar):
                pass  # once more: a process that trained a run may have been stopped
        results = self._results()
        return SweepResult(self.folder, self.record, results, total - len(results))

    def _results(self) -> tuple[SweepRunResult, ...]:
        recorded = self.table.by_name()
        return tuple(recorded[run.name] for run in self.runs if run.name in recorded)

    def _train_available(self, bar: tqdm[Any]) -> int:
        """Go through the grid once; how many runs were trained here."""
        trained = 0
        for run in self.runs:
            bar.n = len(self._results())
            trained += self._train_if_available(run)
        bar.n = len(self._results())
        bar.refresh()
        return trained

    def _train_if_available(self, run: SweepRun) -> bool:
        """Train a run and record it, unless it is recorded or trained elsewhere."""
        if run.name in self.table.by_name():
            self.table.checkpoint(run).unlink(missing_ok=True)  # of a process killed before it did
            return False
        with self.table.claimed(run) as claimed:
            if not claimed or run.name in self.table.by_name():  # it may have ended in between
                return False
            result = self._train(run)
            if result.state == "failed":
                release_memory()
            self.table.append(result)
            self.table.checkpoint(run).unlink(missing_ok=True)
        self._print(result)
        if self.reporting.on_result is not None:
            self.reporting.on_result(result)
        if self.reporting.on_run is not None:
            self.reporting.on_run(self.folder)
        return True

    def _train(self, run: SweepRun) -> SweepRunResult:
        if run.plan is None:
            return SweepRunResult(run, "too large", reason=self._smallest(run))
        point = self.starting_point.initialized(run.init_from, run.seed)
        started = time.monotonic()
        scratch = run.init_from == "scratch"
        untrained = self._untrained(run)
        try:
            candidate = train_candidate(
                point,
                run.plan,
                point.settings.baseline if scratch else point.settings.final,
                label=run.name,
                checkpoint=self.table.checkpoint(run),
                on_step=self.reporting.on_step,
                progress=self.reporting.progress,
            )
            test = score(candidate.model, point.task, "test") if self.grid.test else None
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                error.add_note(f"in run {run.name} of '{self.folder.path}', {run.plan.summary}")
                raise
            seconds = time.monotonic() - started
            return replace(untrained, **vars(failure), seconds=seconds)
        steps, seconds = candidate.run.steps, candidate.run.seconds
        return replace(untrained, valid=candidate.score, test=test, steps=steps, seconds=seconds)

    def _smallest(self, run: SweepRun) -> str:
        """How large the smallest plan of a run's width is, and what takes its bytes."""
        choice = LayerChoice(activation_bits=run.activation_bits or 32, width=run.width or 1.0)
        space = weight_bits_only(self.space, choice)
        plan, scheme = space.plan(space.smallest), self.starting_point.settings.quantizer
        sizes = breakdown(self.starting_point.network, plan, scheme)
        return f"the budget must be at least {sizes.total} bytes ({sizes}), got {run.budget}"

    def _untrained(self, run: SweepRun) -> SweepRunResult:
        """The result of a run, as far as it is known before training: its costs."""
        assert run.plan is not None
        network = self.starting_point.network
        scheme = self.starting_point.settings.quantizer
        size_bytes = int(size.of(network, run.plan, scheme))
        return SweepRunResult(
            run,
            "complete",
            size_bytes=size_bytes,
            size_share=size_bytes / self.record.size_bytes,
            paper_size_ratio=round(paper_size_ratio.of(network, run.plan, scheme), 12),
            activation_bytes=activation_memory.of(network, run.plan, scheme),
        )

    def _print(self, result: SweepRunResult) -> None:
        if not self.reporting.progress:
            return
        size = "" if result.size_bytes is None else readable(result.size_bytes)
        share = "" if result.size_share is None else f"({result.size_share:.4f}x)"
        valid = "-" if result.valid is None else f"{result.valid:.4g}"
        tqdm.write(
            f"{result.run.name:<24} {size:>8} {share}  {self.record.metric} {valid:>7}  "
            f"{result.state}{f': {result.reason}' if result.state == 'too large' else ''}"
        )
