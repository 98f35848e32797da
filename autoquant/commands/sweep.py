"""Sweep: every plan of a grid, trained in full, in one table.

A search looks for one plan with short runs; a sweep shows how plans of all sizes score after long
ones. It is one round of a search: the same jobs, on the full rung, with a table of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autoquant.analysis.measure_sensitivity import load_or_measure_sensitivity
from autoquant.analysis.model_info import SearchInfo, inspect_search
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.artifact.assets import check_assets, write_assets
from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.files import write_text
from autoquant.graph.prepare import prepare
from autoquant.graph.randomness import random_state_kept
from autoquant.plain_values import plain_values
from autoquant.progress import Bar, Progress, opened, print_notes
from autoquant.rounds.place import Place
from autoquant.rounds.recorded_jobs import RecordedJobs
from autoquant.rounds.search_limits import noted
from autoquant.rounds.sweep_round import SweepRound, sweep_rung
from autoquant.rounds.training_job import JobContext
from autoquant.samplers.sweep_plans import sweep_runs
from autoquant.settings import Search, Sweep, constructed, require, settings_for
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.result_values import files_of_report, sweep_values
from autoquant.study.sweep_summary import run_line, run_rows, run_table
from autoquant.study.sweep_table import SweepRun, SweepRunResult, SweepTable
from autoquant.study.trial_lines import float_line, float_row
from autoquant.study.trust import remember
from autoquant.table import Table, Tabular
from autoquant.task import SupportsAssets, Task, as_loss, check_task
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.callbacks import OnStep, check_callbacks, in_turn
from autoquant.training.candidate import StartingPoint
from autoquant.training.device import check_autocast
from autoquant.training.float_model import check_new_weights
from autoquant.training.recognise import refuse_another_metric
from autoquant.training.scoring import score
from autoquant.training.tensorboard_log import TensorBoardLog, check_tensorboard, open_log
from autoquant.training.threads import threads_set
from autoquant.training.weights import plain_settings

SETTINGS_WITHOUT_EFFECT = frozenset(
    {"budget", "loss", "score", "trials", "sampler", "fill", "references", "target"}
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
        figures: files of the figures and of the page, where they were written.
    """

    study: Study
    baseline: BaselineRecord
    results: tuple[SweepRunResult, ...]
    figures: tuple[Path, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The runs, and the plan of the best one where there is one."""
        plan = None if self.best is None else self.best.run.plan
        notes = [] if self.best is None else [f"best run: {self.best.run.name}"]
        notes.append(f"study: {self.study.path}")
        names = {".png": "figure", ".html": "report"}
        shown = [path for path in self.figures if path.suffix in names]
        notes += [f"{names[path.suffix]}: {path}" for path in shown]
        table = run_table(self.baseline, self.results, notes)
        return table, *(() if plan is None else plan.tables)

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant sweep --json`` writes them."""
        values = {
            "study": self.study.path,
            **sweep_values(self.baseline, self.results, self.best),
            **files_of_report(self.figures),
        }
        return dict(plain_values(values))


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
    executor: Executor | None = None,
) -> SweepResult:
    """Train every plan of a grid in full and write ``runs.csv`` into the study's folder.

    A second call with the same folder continues, in the middle of a run too; a grid that has
    changed adds its runs to the table. What a callback raises ends the sweep.

    Args:
        task: model, data, loss and score.
        settings: as for a search: fields that are not named take what the task prefers, else their
            defaults; those that SETTINGS_WITHOUT_EFFECT lists are not used.
        sweep: the grid: bits, widths, budgets, plan files and seeds; the default one when None.
        study: the folder; new, or of a sweep with the same settings.
        origin: how the task was configured, to be written into the study (its name when None).
        progress: whether to show on stderr what happens: a live table in a terminal, else lines.
        report: whether to write the page and the figures into the study after every run, and to
            print the result at the end.
        on_run: called with the study whenever the result of a run has been recorded.
        on_step: called with a StepResult after each training step of the float model and, with one
            worker, of the runs; not for the steps that an earlier call has done.
        executor: runs the trainings of the runs: any one of ``concurrent.futures``, or what
            Dask's ``client.get_executor()`` gives. It stays open.

    Raises:
        UserError: a setting is wrong, a plan file is not there, or the folder is of another study.
        RunError: the folder cannot be written, or training the float model failed.
    """
    check_task(task)
    folder, grid = Study.at(study), Sweep() if sweep is None else sweep
    place = Place.of(folder, settings_for(task, settings), executor)
    settings = place.settings
    write = f"sweep={constructed(Sweep, grid)}"
    require(isinstance(grid, Sweep), "sweep must be an autoquant.Sweep", grid, write)
    check_callbacks(on_run=on_run, on_step=on_step)
    check_tensorboard(settings.tensorboard)
    device = place.device()
    info = inspect_search(task, settings, folder)
    refuse_another_metric(task, folder)
    info = noted(info, grid.budgets)
    runs = sweep_runs(info, settings, grid)
    if grid.init_from == "scratch":
        check_new_weights(task)
    for training in (settings.baseline, settings.final):
        check_autocast(training, device)
    config = _config(task, settings, grid, origin)
    place.check()
    folder = Study.create(study, config)
    remember(config)
    _refuse_other_plans(runs, SweepTable.of(folder))
    with (
        folder.locked(),
        threads_set(settings.threads),
        computing(Compute(settings.kernel)),
        open_log(settings.tensorboard, folder.tensorboard) as log,
        opened(progress, f"sweep {folder.path}") as shown,
    ):
        reporting = _Reporting(shown, _drawing(on_run) if report else on_run, on_step).logged(log)
        point, record = _baseline(task, settings, grid, info, folder, device, reporting)
        sensitivity = _sensitivity(point, runs, info, folder, shown)
        if sensitivity is not None:
            runs = sweep_runs(info, settings, grid, sensitivity)
        running = _Running(point, info, folder, record, reporting, place)
        results = running.results(grid, runs)
    result = SweepResult(folder, record, results)
    return _reported(result) if report else result


@dataclass(frozen=True)
class _Reporting:
    """What is told about the runs while they are trained.

    Attributes:
        progress: is told what happens.
        on_run: called with the study whenever the result of a run has been recorded.
        on_step: called after each training step.
        on_result: called with the result of each run that this process has recorded.
    """

    progress: Progress
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
    from autoquant.report_page.report_files import write_report  # matplotlib is slow to import

    def draw(study: Study) -> None:
        write_report(study)
        if on_run is not None:
            on_run(study)

    return draw


def _reported(result: SweepResult) -> SweepResult:
    """The result, printed, with its page and figures written."""
    from autoquant.report_page.report_files import write_report

    figures = write_report(result.study) if result.results else ()
    result = replace(result, figures=tuple(figures))
    print(result)
    return result


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
    device: torch.device,
    reporting: _Reporting,
) -> tuple[StartingPoint, BaselineRecord]:
    """The float model and its record, with a score on the test split where that is asked for.

    Args:
        task: of the sweep.
        settings: of the sweep.
        grid: of the sweep.
        info: of the float model.
        folder: of the study.
        device: where the model is trained and scored.
        reporting: what is told about the training.
    """
    progress = reporting.progress
    print_notes(info.notes, progress)
    write_text(folder.profile_file, info.profile.to_json())
    with progress.phase("float model"):
        trained, record = load_or_train_baseline(
            task, settings, folder, device, progress=progress, on_step=reporting.on_step
        )
        if grid.test and record.test is None:
            with progress.bar("scoring the float model on the test split"):
                record = replace(record, test=score(trained, task, "test"))
            folder.write_baseline(record)
        progress.show([float_row(record)], float_line(record))
    return StartingPoint(task, prepare(trained), info.network, settings), record


def _sensitivity(
    starting_point: StartingPoint,
    runs: Sequence[SweepRun],
    info: SearchInfo,
    folder: Study,
    progress: Progress,
) -> Sensitivity | None:
    """The sensitivity near the first budget that a plan fits, where plans are to fill budgets.

    Args:
        starting_point: the float model and the settings.
        runs: of the sweep, with bits that are as even as possible.
        info: of the float model.
        folder: of the study.
        progress: shows how far the measurement is.
    """
    settings = starting_point.settings
    reference = next((run.plan for run in runs if run.budget and run.plan is not None), None)
    if reference is None or not settings.sensitivity:
        return None
    with progress.phase("sensitivity"):
        return load_or_measure_sensitivity(
            starting_point,
            info.space,
            settings.final,
            folder.sensitivity_file,
            reference,
            progress=progress,
        )


@dataclass(frozen=True)
class _Running:
    """A sweep in progress.

    Attributes:
        point: the float model and the settings.
        info: of the float model.
        folder: of the study, locked.
        record: of the float model.
        reporting: what is told about the runs.
        place: where the trainings run.
    """

    point: StartingPoint
    info: SearchInfo
    folder: Study
    record: BaselineRecord
    reporting: _Reporting
    place: Place

    def results(self, grid: Sweep, runs: Sequence[SweepRun]) -> tuple[SweepRunResult, ...]:
        """Train the runs that are not recorded; the results of all, in the order of the runs.

        Args:
            grid: of the sweep.
            runs: of the grid.
        """
        table, settings = SweepTable.of(self.folder), self.point.settings
        task = self.point.task
        if grid.save and isinstance(task, SupportsAssets):
            write_assets(self.folder.packed, check_assets(task.assets()))
        rung = sweep_rung(settings, grid, task.steps_per_epoch())
        done = sum(run.name in table.by_name() for run in runs)
        progress, on_step = self.reporting.progress, self.reporting.on_step
        context = JobContext.of(
            self.point,
            (rung,),
            self.place.working,
            progress=progress,
            on_step=on_step,
            here=self.place.is_here,
            fingerprint=self.record.fingerprint,
            test=grid.test,
            save=grid.save,
        )
        with (
            progress.phase("runs"),
            progress.bar("runs", len(runs), "run", done=done) as bar,
            RecordedJobs.opened(context, self.place, progress) as jobs,
        ):
            bar.parallel = self.place.known_workers or 1
            for line in jobs.other_environments():
                progress.say(line)
            SweepRound(
                self.folder,
                self.point.network,
                self.info.space,
                settings.quantizer,
                self.record.size_bytes,
                partial(self._ended, bar),
            ).run(runs, rung.steps, jobs.run)
        recorded = table.by_name()
        return tuple(recorded[run.name] for run in runs)

    def _ended(self, bar: Bar, result: SweepRunResult) -> None:
        """Tell what came of a run.

        Args:
            bar: of the sweep.
            result: of the run, recorded.
        """
        bar.advance(seconds=result.seconds if self.place.known_workers else 0.0)
        line = run_line(result, self.record, bar.tally(time.monotonic()))
        results = SweepTable.of(self.folder).results()
        self.reporting.progress.show(run_rows(results, self.record), line)
        if self.reporting.on_result is not None:
            self.reporting.on_result(result)
        if self.reporting.on_run is not None:
            self.reporting.on_run(self.folder)
