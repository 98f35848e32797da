"""The search: every proposal fits the budget, is trained for a short while, scored and recorded.

The study's journal is the truth; ``outcomes.csv`` and ``plan.yaml`` are written from it after every
trial.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from autoquant.analysis.measure_sensitivity import recorded_sensitivity
from autoquant.analysis.model_info import model_info
from autoquant.backend import Compute, computing
from autoquant.budget import Budget, readable
from autoquant.costs.limit import Limit, limit_of
from autoquant.costs.size import size
from autoquant.errors import Diverged, RunError, UserError
from autoquant.files import write_text
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.samplers.bit_allocation import Allocation
from autoquant.samplers.proposer import SAMPLERS, Proposer
from autoquant.settings import Search
from autoquant.space.projection import Projection
from autoquant.space.search_space import SearchSpace, uniform_plan
from autoquant.study.folder import Baseline, Study
from autoquant.study.outcome import Outcome, Role, best, to_csv
from autoquant.study.trial_storage import Trial, TrialPruned, TrialStorage, state_of
from autoquant.task import Task
from autoquant.training.baseline import float_baseline
from autoquant.training.candidate import Base, train_candidate
from autoquant.training.loop import check_autocast, resolve_device

PRUNED = "worse than three quarters of the trials"  # the reason that is recorded


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        study: its folder.
        baseline: the float model's record.
        budget_bytes: the budget in bytes.
        outcomes: everything that was tried.
        best: the best complete outcome within the budget; None where none completed.
    """

    study: Study
    baseline: Baseline
    budget_bytes: int
    outcomes: tuple[Outcome, ...]
    best: Outcome | None


def search(
    task: Task,
    settings: Search | None = None,
    *,
    study: str | Path,
    origin: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> SearchResult:
    """Find the plan with the best score whose packed file fits the budget.

    Running it again on the same folder continues: finished trials are kept, an interrupted one is
    settled and tried again, and the search goes on to ``settings.trials``.

    Args:
        task: model, data, loss and score.
        settings: budget, trials, training lengths, space, ...
        study: the folder; new, or of the same settings.
        origin: how the task was configured, to be written into the study (its name when None).
        progress: whether to show progress bars and a line for each trial.

    Raises:
        UserError: a setting is wrong, the budget cannot be met, the folder is of another search.
        RunError: the folder cannot be written, or training failed.
    """
    settings = settings or Search()
    budget = Budget.parse(settings.budget)
    config = {"task": dict(origin or {"name": task.name}), **asdict(settings)}
    info = model_info(task, settings, Study(Path(study)))
    network, space, float_bytes = info.network, info.space, info.float_bytes
    limit = limit_of(
        budget, network, settings.quantizer, float_cost=float_bytes, parameters=info.parameters
    )
    _refuse_unreachable(space, limit, settings.budget, float_bytes)
    SAMPLERS[settings.sampler](settings.seed)  # refuses what is not installed
    device = resolve_device(settings.device)
    for training in (settings.baseline, settings.qat):
        check_autocast(training, device)
    folder = Study.create(study, config)
    try:
        with folder.locked(), computing(Compute(settings.kernel)):
            write_text(folder.profile_file, info.profile.to_json())
            trained, record = float_baseline(task, settings, folder, device, progress=progress)
            base = Base(task, prepare(trained), network, settings)
            return _Searching(base, space, folder, record, limit, progress).run()
    except OSError as error:
        raise RunError(f"study '{folder.path}' could not be written: {error.strerror}") from error


def _refuse_unreachable(space: SearchSpace, limit: Limit, budget: str, float_cost: float) -> None:
    """Raise a UserError where even the plan with the lowest choices is above the limit."""
    smallest, unit = limit.of(space.plan(space.smallest)), limit.cost.unit
    if smallest > limit.value:
        raise UserError(
            f"budget must be at least {smallest} {unit} ({smallest / float_cost:.4f}x), the "
            f"smallest {limit.cost.name} that any plan of the space reaches, got {budget} = "
            f"{limit.value} {unit}"
        )


class _Searching:
    """One search in progress."""

    def __init__(
        self,
        base: Base,
        space: SearchSpace,
        folder: Study,
        record: Baseline,
        limit: Limit,
        progress: bool,
    ) -> None:
        self.base, self.space, self.folder = base, space, folder
        self.record, self.limit, self.progress = record, limit, progress
        self.settings = base.settings
        self.journal = TrialStorage(
            folder.journal_file, record.direction, prune=self.settings.prune
        )
        projection = Projection(space, limit, self.settings.fill)
        sampler, seed = self.settings.sampler, self.settings.seed
        allocation = self._allocation(projection)
        self.proposer = Proposer(projection, record.direction, sampler, seed, allocation)

    def run(self) -> SearchResult:
        """Settle, train references, then proposals."""
        self.journal.settle()
        total = len(self.settings.references) + self.settings.trials
        bar = tqdm(
            total=total, desc="search", unit="trial", disable=not self.progress, smoothing=0.1
        )
        with bar:
            self._write()
            self._train_references(bar)
            self._train_proposals(bar)
        return self.result()

    def _allocation(self, projection: Projection) -> Allocation | None:
        if not self.settings.sensitivity:
            return None
        path = self.folder.sensitivity_file
        found = recorded_sensitivity(
            self.base, self.space, self.settings.qat, path, progress=self.progress
        )
        return Allocation(projection, found)

    def result(self) -> SearchResult:
        outcomes = tuple(self.journal.outcomes())
        return SearchResult(
            self.folder,
            self.record,
            int(self.limit.value),
            outcomes,
            self._best(outcomes),
        )

    def _best(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The best complete outcome within the limit."""
        return best(outcomes, int(self.limit.value), self.record.direction)

    def _ended(self, role: Role) -> list[Outcome]:
        outcomes = self.journal.outcomes()
        return [o for o in outcomes if o.role == role and o.state != "interrupted"]

    def _train_references(self, bar: tqdm[Any]) -> None:
        """The uniform plans, with the same effort as the proposals."""
        done = {outcome.trial for outcome in self._ended("reference")}
        widest = self.settings.space.activation_bits[-1]
        bar.update(len(done))
        plans: set[Plan] = set()
        for bits in self.settings.references:
            plan = uniform_plan(self.space, self.base.network, LayerChoice(bits, widest))
            if f"w{bits}" not in done and plan not in plans:  # rules may leave two alike
                self._train("reference", plan, name=f"w{bits}")
                bar.update()
            plans.add(plan)

    def _train_proposals(self, bar: tqdm[Any]) -> None:
        done = len(self._ended("search"))
        bar.update(min(done, self.settings.trials))
        for _ in range(self.settings.trials - done):
            references, ended = self._ended("reference"), self._ended("search")
            tried = {outcome.plan for outcome in references + ended}
            records = [
                trial
                for trial in self.journal.trials("search")
                if trial.state.is_finished() and state_of(trial) != "interrupted"
            ]
            point = self.proposer.propose(records, references, tried)
            if point is None:
                self._say("every plan of the space that fits the budget has been tried")
                return
            self._train("search", self.space.plan(point), params=self.proposer.params(point))
            bar.update()

    def _train(
        self,
        role: Role,
        plan: Plan,
        *,
        name: str | None = None,
        params: dict[str, int] | None = None,
    ) -> None:
        """One trial, from its opening in the journal to its end."""
        ranges = self.proposer.ranges() if params else {}
        size_bytes = int(size.of(self.base.network, plan, self.settings.quantizer))
        trial = self.journal.begin(role, plan, size_bytes, name=name, params=params, ranges=ranges)
        started = time.monotonic()
        try:
            ended = self._attempt(role, trial, plan)
        except KeyboardInterrupt:
            self.journal.end(role, trial, "interrupted", reason="the search was stopped")
            self._write()
            raise
        self.journal.end(role, trial, seconds=time.monotonic() - started, **ended)
        self._write()
        self._say_outcome(trial.user_attrs["trial"])

    def _attempt(self, role: Role, trial: Trial, plan: Plan) -> dict[str, Any]:
        reached = 0

        def on_score(step: int, score: float) -> None:
            nonlocal reached
            reached = step
            self.journal.report(role, trial, step, score)

        try:
            candidate = train_candidate(
                self.base,
                plan,
                self.settings.qat,
                label=f"trial {trial.user_attrs['trial']}",
                on_score=on_score,
                progress=self.progress,
            )
        except TrialPruned:
            return {"state": "pruned", "steps": reached, "reason": PRUNED}
        except Diverged as error:
            return {"state": "diverged", "steps": reached, "reason": str(error)}
        return {"state": "complete", "steps": candidate.run.steps, "score": candidate.score}

    # --- what the user sees ----------------------------------------------------------------------

    def _write(self) -> None:
        outcomes = self.journal.outcomes()
        write_text(self.folder.outcomes_file, to_csv(outcomes, self.record.size_bytes))
        chosen = self._best(outcomes)
        if chosen is not None:
            heading = (
                f"# trial {chosen.trial}: {self.record.metric} {chosen.score:.6g}, "
                f"{chosen.size_bytes} bytes\n"
            )
            write_text(self.folder.plan_file, heading + chosen.plan.to_yaml())

    def _say(self, line: str) -> None:
        if self.progress:
            tqdm.write(line)

    def _say_outcome(self, name: str) -> None:
        outcomes = self.journal.outcomes()
        outcome = next(o for o in outcomes if o.trial == name)
        share = outcome.size_bytes / self.record.size_bytes
        score = "-" if outcome.score is None else f"{outcome.score:.4g}"
        chosen = self._best(outcomes)
        mark = "  best so far" if chosen is outcome else ""
        self._say(
            f"trial {name:>4}  {readable(outcome.size_bytes):>8} ({share:.4f}x)  "
            f"{self.record.metric} {score:>7}  {outcome.state}{mark}"
        )
