"""Search: every proposal fits the budget, is trained briefly, scored and recorded.

Optuna's storage in the study is the record of the search; ``outcomes.csv`` and ``plan.yaml`` are
written from it after every trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoquant.analysis.measure_sensitivity import load_or_measure_sensitivity
from autoquant.analysis.model_info import SearchInfo, inspect_search
from autoquant.artifact.manifest import breakdown
from autoquant.backend import Compute, computing
from autoquant.budget import readable
from autoquant.costs.limit import LimitSet, limits_of
from autoquant.costs.size import size
from autoquant.errors import first_line
from autoquant.files import write_text
from autoquant.graph.prepare import prepare
from autoquant.graph.randomness import random_state_kept
from autoquant.plan import LayerChoice, Plan
from autoquant.progress_bar import print_notes, tqdm
from autoquant.samplers.bit_allocation import BitAllocation
from autoquant.samplers.proposer import Proposer
from autoquant.samplers.registry import new_sampler
from autoquant.settings import Search, settings_for
from autoquant.space.projection import Projection
from autoquant.space.reachable import check_reachable
from autoquant.space.search_space import SearchSpace, uniform_plan
from autoquant.study.folder import BaselineRecord, Study
from autoquant.study.outcome import Outcome, TrialRole, best, complete, to_csv
from autoquant.study.recorded_trials import open_trials
from autoquant.study.trial_storage import Trial, TrialPruned, state_of
from autoquant.study.trust import remember
from autoquant.table import Column, Table, Tabular
from autoquant.task import Task, check_task
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.callbacks import OnStep, check_callbacks, in_turn, is_from_callback
from autoquant.training.candidate import StartingPoint, failure_of, train_candidate
from autoquant.training.device import (
    check_autocast,
    release_memory,
    resolve_device,
)
from autoquant.training.recognise import refuse_another_metric
from autoquant.training.tensorboard_log import TensorBoardLog, check_tensorboard, open_log
from autoquant.training.weights import plain_settings

OnTrial = Callable[[Outcome], None]
"""Called with the outcome of each trial, a reference's too, when it has been recorded."""
PRUNED, STOPPED = "worse than three quarters of the trials", "the search was stopped"  # reasons


@dataclass(frozen=True)
class SearchResult(Tabular):
    """What a search found.

    Attributes:
        study: its folder.
        baseline: the float model's record.
        budget_bytes: the budget in bytes.
        outcomes: of all plans that were tried: references, then proposals, each in order.
        best: the best complete outcome within the budget; None where none completed.
        figures: files of the figures, where they were drawn.
    """

    study: Study
    baseline: BaselineRecord
    budget_bytes: int
    outcomes: tuple[Outcome, ...]
    best: Outcome | None
    figures: tuple[Path, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The scores and sizes, and the best plan where there is one."""
        plan = () if self.best is None else self.best.plan.tables
        return _score_table(self), *plan


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
) -> SearchResult:
    """Find the plan with the best score whose packed file fits the budget.

    A second call with the same folder continues: finished trials are kept, an interrupted one is
    closed and tried again, and the search goes on to ``settings.trials``. What a callback raises
    ends the search.

    Args:
        task: model, data, loss and score.
        settings: budget, trials, training lengths, space, ...; fields that are not named take what
            the task prefers, else their defaults.
        study: the folder; new, or of a search with the same settings.
        origin: how the task was configured, to be written into the study (its name when None).
        progress: whether to show progress bars and a line for each trial.
        report: whether to draw the figures into the study and to print the result at the end.
        on_trial: called with the Outcome of each trial that has ended, references included, when
            it has been recorded.
        on_step: called with a StepResult after each training step of the float model and of the
            trials; not for the steps that an earlier call has done.

    Raises:
        UserError: a setting is wrong, the budget cannot be met, the folder is of another search.
        RunError: the folder cannot be written, or training the float model failed.
    """
    check_task(task)
    settings = settings_for(task, settings)
    check_callbacks(on_trial=on_trial, on_step=on_step)
    check_tensorboard(settings.tensorboard)
    info = inspect_search(task, settings, Study.at(study))
    refuse_another_metric(task, Study.at(study))
    config = {"task": dict(origin or {"name": task.name}), **plain_settings(settings)}
    limits = _reachable_limits(info, settings)
    new_sampler(settings.sampler, settings.seed)  # refused before there is a folder
    device = resolve_device(settings.device)
    for training in (settings.baseline, settings.qat):
        check_autocast(training, device)
    folder = Study.create(study, config)
    remember(config)
    with (
        folder.locked(),
        computing(Compute(settings.kernel)),
        open_log(settings.tensorboard, folder.tensorboard) as log,
    ):
        reporting = _Reporting(progress, on_trial, on_step).logged(log)
        print_notes(info.notes, progress=progress)
        write_text(folder.profile_file, info.profile.to_json())
        trained, record = load_or_train_baseline(
            task, settings, folder, device, progress=progress, on_step=reporting.on_step
        )
        starting_point = StartingPoint(task, prepare(trained), info.network, settings)
        result = _Trials(starting_point, info.space, folder, record, limits, reporting).run()
    return _reported(result) if report else result


def _reported(result: SearchResult) -> SearchResult:
    """The result, printed, with its figures drawn."""
    from autoquant.figures.study_figures import draw_study  # matplotlib is slow to import

    result = replace(result, figures=tuple(draw_study(result.study)))
    print(result)
    return result


def _score_table(result: SearchResult) -> Table:
    """A row each for the float model, the references and the best plan."""
    record, best_one = result.baseline, result.best
    scored = complete(result.outcomes)
    rows: list[tuple[str, float | None, int]]
    rows = [("float baseline", record.score, record.size_bytes)]
    rows += [
        (f"uniform {outcome.trial[1:]}-bit", outcome.score, outcome.size_bytes)
        for outcome in scored
        if outcome.role == "reference"
    ]
    if best_one is not None:
        rows.append((f"best plan, trial {best_one.trial}", best_one.score, best_one.size_bytes))
    untrained = bool(scored) and all(outcome.steps == 0 for outcome in scored)
    trained = "calibrated, not trained" if untrained else "short training"
    return Table(
        f"{record.metric} on the validation split, and size of the packed file",
        (Column("plan", "left"), *map(Column, (record.metric, "size", "share"))),
        tuple(
            (name, f"{score:.5g}", readable(size_bytes), f"{size_bytes / record.size_bytes:.4f}x")
            for name, score, size_bytes in rows
        ),
        (
            f"budget {result.budget_bytes} bytes; {trained}, validation split",
            f"study: {result.study.path}",
            *(f"Pareto plot: {path}" for path in result.figures if path.name == "pareto.png"),
        ),
    )


def _reachable_limits(info: SearchInfo, settings: Search) -> LimitSet:
    """The budget and the other limits; a UserError where no plan of the space is within them.

    Args:
        info: of the float model.
        settings: of the search.
    """
    limits = limits_of(
        settings, info.network, float_bytes=info.float_bytes, parameters=info.parameters
    )
    sizes = breakdown(info.network, info.space.plan(info.space.smallest), settings.quantizer)
    check_reachable(info.space, limits, {"size": f" ({sizes}; {info.profile.coverage})"})
    return limits


@dataclass(frozen=True)
class _Reporting:
    """What is told about the trials while they are trained.

    Attributes:
        progress: whether to show progress bars and a line for each trial.
        on_trial: called with the outcome of each trial.
        on_step: called after each training step.
    """

    progress: bool
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


class _Trials:
    """The trials of a search in progress.

    Args:
        starting_point: the float model and the settings.
        space: of the model.
        folder: of the study, locked.
        record: of the float model.
        limits: of the plans.
        reporting: what is told about the trials.
    """

    def __init__(
        self,
        starting_point: StartingPoint,
        space: SearchSpace,
        folder: Study,
        record: BaselineRecord,
        limits: LimitSet,
        reporting: _Reporting,
    ) -> None:
        self.starting_point, self.space, self.folder = starting_point, space, folder
        self.record, self.limits, self.reporting = record, limits, reporting
        self.settings = starting_point.settings
        projection = Projection(space, limits, self.settings.fill)
        sampler, seed = self.settings.sampler, self.settings.seed
        allocation = self._bit_allocation(projection)
        self.proposer = Proposer(projection, record.direction, sampler, seed, allocation)
        self.storage = open_trials(
            folder,
            record.direction,
            prune=self.settings.prune,
            params_of=self.proposer.params_of,
            ranges=self.proposer.ranges(),
        )

    def run(self) -> SearchResult:
        """Close what was interrupted, then train references, then proposals."""
        self.storage.close_interrupted()
        total = len(self.settings.references) + self.settings.trials
        bar = tqdm(
            total=total,
            desc="search",
            unit="trial",
            disable=not self.reporting.progress,
            smoothing=0.1,
        )
        with bar:
            self._write()
            self._train_references(bar)
            self._train_proposals(bar)
        outcomes = self.storage.outcomes()
        limit, chosen = int(self.limits.budget.value), self._best(outcomes)
        return SearchResult(self.folder, self.record, limit, tuple(outcomes), chosen)

    def _bit_allocation(self, projection: Projection) -> BitAllocation | None:
        """Bits by sensitivity; None where it is not to be measured."""
        if not self.settings.sensitivity:
            return None
        sensitivity = load_or_measure_sensitivity(
            self.starting_point,
            self.space,
            self.settings.qat,
            self.folder.sensitivity_file,
            progress=self.reporting.progress,
        )
        return BitAllocation(projection, sensitivity)

    def _best(self, outcomes: list[Outcome]) -> Outcome | None:
        """The best complete outcome within the limit."""
        return best(outcomes, int(self.limits.budget.value), self.record.direction)

    def _ended(self, role: TrialRole) -> list[Outcome]:
        """The outcomes of a role, without interrupted ones, which are tried again."""
        outcomes = self.storage.outcomes()
        return [o for o in outcomes if o.role == role and o.state != "interrupted"]

    # --- training --------------------------------------------------------------------------------

    def _train_references(self, bar: tqdm[Any]) -> None:
        """Train the uniform plans, for as many steps as the proposals."""
        done = {outcome.trial for outcome in self._ended("reference")}
        widest = self.settings.space.activation_bits[-1]
        network = self.starting_point.network
        bar.update(len(done))
        plans: set[Plan] = set()
        for bits in self.settings.references:
            plan = uniform_plan(self.space, network, LayerChoice(bits, widest))
            if f"w{bits}" not in done and plan not in plans:  # with rules, two may be equal
                self._train("reference", plan, name=f"w{bits}")
                bar.update()
            plans.add(plan)

    def _train_proposals(self, bar: tqdm[Any]) -> None:
        """Propose and train plans until there are as many trials as the settings say."""
        done = len(self._ended("search"))
        bar.update(min(done, self.settings.trials))
        for _ in range(self.settings.trials - done):
            references, ended = self._ended("reference"), self._ended("search")
            tried = {outcome.plan for outcome in references + ended}
            records = [
                trial
                for trial in self.storage.trials("search")
                if trial.state.is_finished() and state_of(trial) != "interrupted"
            ]
            point = self.proposer.propose(records, references, tried)
            if point is None:
                self._print("every plan of the space that fits the budget has been tried")
                return
            self._train("search", self.space.plan(point), params=self.proposer.params(point))
            bar.update()

    def _train(
        self,
        role: TrialRole,
        plan: Plan,
        *,
        name: str | None = None,
        params: dict[str, int] | None = None,
    ) -> None:
        """Open a trial, train its plan, close the trial.

        Args:
            role: of the trial.
            plan: that is trained.
            name: of the trial; its number when None.
            params: a proposal's point, for Optuna.
        """
        ranges = self.proposer.ranges() if params else {}
        size_bytes = int(size.of(self.starting_point.network, plan, self.settings.quantizer))
        trial = self.storage.begin(role, plan, size_bytes, name=name, params=params, ranges=ranges)
        started = time.monotonic()
        try:
            ended = self._train_plan(role, trial, plan)
        except BaseException as error:
            self._close_after(error, role, trial, plan)
            raise
        if ended["state"] == "failed":
            release_memory()
        self.storage.end(role, trial, seconds=time.monotonic() - started, **ended)
        self._write()
        self._report_outcome(role, trial.user_attrs["trial"])

    def _close_after(self, error: BaseException, role: TrialRole, trial: Trial, plan: Plan) -> None:
        """Close a trial whose error ends the search; the next search tries its plan again.

        Args:
            error: gets a note that names the trial and the plan, unless the user stopped it.
            role: of the trial.
            trial: an open one.
            plan: of the trial.
        """
        stopped = isinstance(error, KeyboardInterrupt)
        reason = STOPPED if stopped else f"{type(error).__name__}: {first_line(error)}"
        self.storage.end(role, trial, "interrupted", reason=reason)
        self._write()
        if not stopped:
            name = trial.user_attrs["trial"]
            error.add_note(f"in trial {name} of '{self.folder.path}', {plan.summary}")

    def _train_plan(self, role: TrialRole, trial: Trial, plan: Plan) -> dict[str, Any]:
        """Train a plan; how the trial ended, as arguments of ``TrialStorage.end``.

        Args:
            role: of the trial.
            trial: an open one.
            plan: of the trial.
        """
        scored_step = 0

        def on_score(step: int, score: float) -> None:
            nonlocal scored_step
            scored_step = step
            self.storage.report(role, trial, step, score)

        try:
            candidate = train_candidate(
                self.starting_point,
                plan,
                self.settings.qat,
                label=f"trial {trial.user_attrs['trial']}",
                on_score=on_score,
                on_step=self.reporting.on_step,
                progress=self.reporting.progress,
            )
        except TrialPruned as error:
            if is_from_callback(error):
                raise
            return {"state": "pruned", "steps": scored_step, "reason": PRUNED}
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            return {**vars(failure), "steps": scored_step}
        return {"state": "complete", "steps": candidate.run.steps, "score": candidate.score}

    # --- files and lines for the user ------------------------------------------------------------

    def _write(self) -> None:
        """Write the table of outcomes, and the best plan."""
        outcomes = self.storage.outcomes()
        write_text(self.folder.outcomes_file, to_csv(outcomes, self.record.size_bytes))
        chosen = self._best(outcomes)
        if chosen is not None:
            heading = (
                f"# trial {chosen.trial}: {self.record.metric} {chosen.score:.6g}, "
                f"{chosen.size_bytes} bytes\n"
            )
            write_text(self.folder.plan_file, heading + chosen.plan.to_yaml())

    def _print(self, line: str) -> None:
        if self.reporting.progress:
            tqdm.write(line)

    def _report_outcome(self, role: TrialRole, name: str) -> None:
        """Print the outcome of a trial, and tell the user's callback.

        Args:
            role: of the trial.
            name: of the trial; interrupted references before it may have the same.
        """
        outcomes = self.storage.outcomes()
        outcome = [o for o in outcomes if (o.role, o.trial) == (role, name)][-1]
        share = outcome.size_bytes / self.record.size_bytes
        score = "-" if outcome.score is None else f"{outcome.score:.4g}"
        mark = "  best so far" if self._best(outcomes) is outcome else ""
        self._print(
            f"trial {name:>4}  {readable(outcome.size_bytes):>8} ({share:.4f}x)  "
            f"{self.record.metric} {score:>7}  {outcome.state}{mark}"
        )
        if self.reporting.on_trial is not None:
            self.reporting.on_trial(outcome)
