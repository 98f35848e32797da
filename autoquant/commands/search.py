"""Search: proposals within the budget, trained on rising rungs, compared beside their noise.

``trials.jsonl`` is the record of the trials, ``jobs.csv`` that of single trainings.
``outcomes.csv``, ``plan.yaml`` and the journal for optuna-dashboard are written from the trials:
after a training, unless that has just been done, and at the end of a phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoquant.analysis.measure_sensitivity import load_or_measure_sensitivity
from autoquant.analysis.model_info import SearchInfo, inspect_search
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.artifact.stored_space import StoredSpace
from autoquant.backend import Compute, computing
from autoquant.costs.latency_table import LATENCIES
from autoquant.costs.target import for_target
from autoquant.files import write_text
from autoquant.graph.prepare import prepare
from autoquant.graph.randomness import random_state_kept
from autoquant.plain_values import plain_values
from autoquant.plan import LayerChoice
from autoquant.progress import Progress, opened, print_notes
from autoquant.rounds.learning_rate import with_learning_rate
from autoquant.rounds.phase_times import PhaseTimes
from autoquant.rounds.place import Place
from autoquant.rounds.recorded_jobs import RecordedJobs
from autoquant.rounds.rungs import rungs_of
from autoquant.rounds.search_limits import noted, search_limits, target_sizes
from autoquant.rounds.search_rounds import Goal, SearchRounds
from autoquant.rounds.training_job import JobContext
from autoquant.rounds.trial_watcher import TrialWatcher
from autoquant.samplers.proposer import Proposer
from autoquant.samplers.ranges import parameters_of
from autoquant.samplers.strategy import Strategy
from autoquant.settings import Search, settings_for
from autoquant.space.activation_bits import USUAL_BITS, uniform_activation_bits
from autoquant.space.reference_plan import reference_plan
from autoquant.space.search_space import uniform_plan
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.bound import loss_bound
from autoquant.study.folder import Study
from autoquant.study.live_trials import LiveTrials
from autoquant.study.outcome import Outcome
from autoquant.study.recorded_trials import open_trials
from autoquant.study.result_values import files_of_report, search_values
from autoquant.study.selection import Selection, select
from autoquant.study.study_files import StudyFiles
from autoquant.study.summary import search_tables
from autoquant.study.trial_lines import float_line, float_row
from autoquant.study.trial_storage import TrialStorage
from autoquant.study.trust import remember
from autoquant.table import Table, Tabular
from autoquant.task import Task, as_loss, check_task
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.callbacks import OnStep, check_callbacks, in_turn
from autoquant.training.candidate import StartingPoint
from autoquant.training.device import check_autocast
from autoquant.training.recognise import refuse_another_metric
from autoquant.training.tensorboard_log import TensorBoardLog, check_tensorboard, open_log
from autoquant.training.threads import threads_set
from autoquant.training.weights import plain_settings

OnTrial = Callable[[Outcome], None]
"""Called with the outcome of each trial that has ended, a reference's too."""


@dataclass(frozen=True)
class SearchResult(Tabular):
    """What a search found.

    Attributes:
        study: its folder.
        baseline: the float model's record.
        budgets: in bytes, the largest first.
        outcomes: of all plans that were tried: references, then proposals, each in order.
        selections: for each budget which plan was chosen, and which ones are level with it; None
            where no plan within it has a score.
        figures: files of the figures and of the page, where they were written.
        seconds: wall-clock seconds of this call by phase.
        bound: the largest accepted loss, where the smallest such plan was looked for.
        target: the runtime whose files the sizes are of; None for packed files.
    """

    study: Study
    baseline: BaselineRecord
    budgets: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    selections: tuple[Selection | None, ...]
    figures: tuple[Path, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    bound: float | None = None
    target: str | None = None

    @property
    def best(self) -> Outcome | None:
        """The chosen outcome of the largest budget; None where there is none."""
        first = self.selections[0]
        return None if first is None else first.chosen

    @property
    def budget_bytes(self) -> int:
        """The largest budget, in bytes."""
        return self.budgets[0]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The scores and sizes, and the best plan where there is one."""
        plan = () if self.best is None else self.best.plan.tables
        tables = search_tables(
            self.baseline, self.outcomes, self.budgets, self.selections, self.bound
        )
        drawn = {path.name: path for path in self.figures}
        shown = {"Pareto plot": "pareto.png", "report": "report.html"}
        figures = (f"{what}: {drawn[name]}" for what, name in shown.items() if name in drawn)
        notes = (*tables[0].notes, f"study: {self.study.path}", *figures)
        title = tables[0].title
        if self.target is not None:
            title = title.replace("packed file", f"file for target={self.target}")
        return replace(tables[0], title=title, notes=notes), *tables[1:], *plan

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant search --json`` writes them."""
        values: dict[str, Any] = {
            "study": self.study.path,
            **search_values(self.baseline, self.outcomes, self.budgets, self.selections),
            "largest_loss": self.bound,
            "target": self.target,
            **files_of_report(self.figures),
            "seconds": [{"phase": name, "seconds": n} for name, n in self.seconds.items()],
        }
        return dict(plain_values(values))


@random_state_kept()
def search(
    task: Task,
    settings: Search | None = None,
    *,
    study: str | Path | Study,
    origin: Mapping[str, Any] | None = None,
    progress: bool = True,
    report: bool = False,
    on_trial: OnTrial | None = None,
    on_step: OnStep | None = None,
    executor: Executor | None = None,
) -> SearchResult:
    """Find the plan with the best score whose packed file fits the budget.

    A second call with the same folder continues: trainings that have ended are kept, those that
    were interrupted run again, and the search goes on to ``settings.trials``. What a callback
    raises ends the search.

    Args:
        task: model, data, loss and score.
        settings: budget, trials, training lengths, space, ...; fields that are not named take what
            the task prefers, else their defaults.
        study: the folder; new, or of a search with the same settings.
        origin: how the task was configured, to be written into the study (its name when None).
        progress: whether to show on stderr what happens: a live table in a terminal, else lines.
        report: whether to write the page and the figures into the study, and to print the result at
            the end.
        on_trial: called with the Outcome of each trial that has ended, references included, when
            it has been recorded.
        on_step: called with a StepResult after each training step of the float model and, with one
            worker, of the trials; not for the steps that an earlier call has done.
        executor: runs the trainings of the trials: any one of ``concurrent.futures``, or what
            Dask's ``client.get_executor()`` gives. It stays open.

    Raises:
        UserError: a setting is wrong, a limit cannot be met, the folder is of another search.
        RunError: the folder cannot be written, or training the float model failed.
    """
    check_task(task)
    folder = Study.at(study)
    place = Place.of(folder, settings_for(task, settings), executor)
    settings = for_target(place.settings)
    check_callbacks(on_trial=on_trial, on_step=on_step)
    check_tensorboard(settings.tensorboard)
    device = place.device()
    LATENCIES.read(folder.latencies_file)  # measured anew the limits would be others
    info = noted(inspect_search(task, settings, folder), settings.budgets)
    refuse_another_metric(task, folder)
    config = {"task": dict(origin or {"name": task.name}), **plain_settings(settings)}
    limits = search_limits(info, settings)
    strategy = Strategy(settings, info.space, limits, target_sizes(info, settings, limits))
    strategy.check()  # refused before there is a folder
    for training in (settings.baseline, settings.qat, settings.final):
        check_autocast(training, device)
    place.check()
    folder = Study.create(study, config)
    remember(config)
    with (
        folder.locked(),
        threads_set(settings.threads),
        computing(Compute(settings.kernel)),
        open_log(settings.tensorboard, folder.tensorboard) as log,
        opened(progress, f"search {folder.path}") as shown,
    ):
        reporting = _Reporting(shown, on_trial, on_step).logged(log)
        times = PhaseTimes(progress=shown, workers=place.known_workers)
        budgets = ", ".join(settings.budgets)
        shown.say(f"task {task.name}, budget {budgets}, study {folder.path}")
        print_notes(info.notes, shown)
        write_text(folder.profile_file, info.profile.to_json())
        stored = StoredSpace(info.network, info.profile.widenable)
        write_text(folder.network_file, stored.to_json())
        _write_latencies(folder, settings)
        with times.phase("float model"):
            trained, record = load_or_train_baseline(
                task, settings, folder, device, progress=shown, on_step=reporting.on_step
            )
            shown.show([float_row(record)], float_line(record))
        point = StartingPoint(task, prepare(trained), info.network, settings)
        running = _Running(point, info, folder, record, strategy, reporting, times, place)
        result = running.with_learning_rate().result()
        _write_latencies(folder, settings)
        result = replace(result, seconds=dict(times.seconds))
        shown.say(str(times))
    return _reported(result) if report else result


def _write_latencies(folder: Study, settings: Search) -> None:
    """Keep the step times that a limit was computed with."""
    if settings.limits.latency is not None:
        LATENCIES.write(folder.latencies_file)


def _reported(result: SearchResult) -> SearchResult:
    """The result, printed, with its page and figures written."""
    from autoquant.report_page.report_files import write_report  # matplotlib is slow to import

    result = replace(result, figures=tuple(write_report(result.study)))
    print(result)
    return result


@dataclass(frozen=True)
class _Reporting:
    """What is told about the trials while they are trained.

    Attributes:
        progress: is told what happens.
        on_trial: called with the outcome of each trial that has ended.
        on_step: called after each training step.
    """

    progress: Progress
    on_trial: OnTrial | None
    on_step: OnStep | None

    def logged(self, log: TensorBoardLog | None) -> _Reporting:
        """The same, with a log that is written before the user's functions are called.

        Args:
            log: None where there is none.
        """
        if log is None:
            return self
        on_trial, on_step = in_turn(log.on_trial, self.on_trial), in_turn(log.on_step, self.on_step)
        return replace(self, on_trial=on_trial, on_step=on_step)


@dataclass(frozen=True)
class _Running:
    """A search in progress.

    Attributes:
        point: the float model and the settings.
        info: of the float model.
        folder: of the study, locked.
        record: of the float model.
        strategy: gives the sampler.
        reporting: what is told about the trials.
        times: of the phases.
        place: where the trainings run.
    """

    point: StartingPoint
    info: SearchInfo
    folder: Study
    record: BaselineRecord
    strategy: Strategy
    reporting: _Reporting
    times: PhaseTimes
    place: Place

    @property
    def budgets(self) -> tuple[int, ...]:
        """In bytes, the largest first."""
        return self.strategy.targets.budgets

    def with_learning_rate(self) -> _Running:
        """The same search with a number in place of the learning rate "auto"."""
        space, settings = self.info.space, self.point.settings
        choice = LayerChoice(USUAL_BITS, uniform_activation_bits(settings.space))
        with self.times.phase("learning rate"):
            settings = with_learning_rate(
                self.point,
                uniform_plan(space, self.point.network, choice),
                self.record.score,
                self.folder.learning_rate_file,
                self.reporting.progress,
            )
        return replace(self, point=replace(self.point, settings=settings))

    def result(self) -> SearchResult:
        """Run the rounds."""
        record, point = self.record, self.point
        bound = loss_bound(point.settings, record)
        allowed = None if bound is None else bound - as_loss(record.score, record.direction)
        with self.times.phase("sensitivity"):
            sensitivity = self._sensitivity()
        storage = open_trials(self.folder, record.direction, parameters_of(self.info.space))
        sampler = self.strategy.sampler(sensitivity, allowed)
        proposer = Proposer(storage, sampler, self.info.space, point.network, point.settings)
        self._run(storage, proposer, bound)
        outcomes = tuple(storage.outcomes())
        selections = tuple(select(outcomes, b, record.direction, bound) for b in self.budgets)
        return SearchResult(
            self.folder,
            record,
            self.budgets,
            outcomes,
            selections,
            bound=bound,
            target=point.settings.target,
        )

    def _run(self, storage: TrialStorage, proposer: Proposer, bound: float | None) -> None:
        """Train trials until there are as many as the settings say.

        Args:
            storage: of the trials.
            proposer: of their plans.
            bound: the largest accepted loss, where the smallest such plan is looked for.
        """
        point, progress = self.point, self.reporting.progress
        rungs = rungs_of(point.settings, point.task.steps_per_epoch())
        context = JobContext.of(
            point,
            rungs,
            self.place.working,
            progress=progress,
            on_step=self.reporting.on_step,
            here=self.place.is_here,
            fingerprint=self.record.fingerprint,
        )
        watcher = self._watcher(storage, bound)
        sizes = {layer.name: layer.count for layer in point.network.layers}
        with watcher.watching(), RecordedJobs.opened(context, self.place, progress) as jobs:
            for line in jobs.other_environments():
                progress.say(line)
            SearchRounds(
                storage,
                proposer,
                jobs,
                rungs,
                point.settings.rounds,
                Goal(self.budgets, self.record.direction, sizes, self.record.score, bound),
                progress.say,
                watcher.changed,
                self.times,
            ).run(point.settings.trials)
            finalists = storage.outcomes("search")
            jobs.remove_trunks(o.plan for o in finalists if o.state == "complete")

    def _watcher(self, storage: TrialStorage, bound: float | None) -> TrialWatcher:
        """Writes files and tells the user when trials have changed.

        Args:
            storage: of the trials.
            bound: the largest accepted loss, where the smallest such plan is looked for.
        """
        reporting = self.reporting
        files = StudyFiles(self.folder, storage, self.record, self.budgets, bound)
        live = LiveTrials(reporting.progress, self.record, storage.outcomes, files.chosen)
        return TrialWatcher(storage, files, live, self.times, reporting.on_trial)

    def _sensitivity(self) -> Sensitivity | None:
        """The sensitivity near the budget; None where it is not to be measured."""
        settings = self.point.settings
        if not settings.sensitivity:
            return None
        return load_or_measure_sensitivity(
            self.point,
            self.info.space,
            settings.qat,
            self.folder.sensitivity_file,
            reference_plan(self.info.space, self.strategy.limits),
            progress=self.reporting.progress,
        )
