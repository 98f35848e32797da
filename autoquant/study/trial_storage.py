"""TrialStorage: the trials of a study in Optuna's storage, and the Outcomes read from it.

Two Optuna studies share a file: "references" holds the uniform plans, "search" the proposals. Both
have two objectives, the size and the score on the last rung, so that Optuna's dashboard shows the
Pareto front. A proposal is asked for once and stays open until it is known whether it goes on to
the next rung; one that does not is told as pruned. Scores of all rungs are user attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from autoquant.errors import UserError
from autoquant.files import writing
from autoquant.plan import Plan
from autoquant.study.journal import repair
from autoquant.study.outcome import Outcome, OutcomeState, TrialRole, rung_means
from autoquant.task import Direction

_STUDIES: dict[TrialRole, str] = {"reference": "references", "search": "search"}
_ENDS = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}  # others: FAIL
_WITHOUT_PLAN = "without_plan"
"""Attribute of a trial that was closed before it had a plan."""

Score = tuple[int, int, float]
"""(steps, data order, score) of one training."""


class NoPlanLeft(Exception):
    """A sampler has no plan to propose that has not been tried."""


class TrialStorage:
    """The trials of one study folder; every change is on disk when a method returns.

    Only one process at a time may open it: the one that holds the study's lock.

    Args:
        path: of Optuna's journal file; made where it is missing.
        direction: whether low or high scores are good.

    Raises:
        UserError: the file is of an earlier version, with one objective.
    """

    def __init__(self, path: Path, direction: Direction) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path = path
        repair(path)
        with writing(path):
            storage = JournalStorage(JournalFileBackend(str(path)))
            _refuse_one_objective(storage, path)
            self._studies = {
                role: optuna.create_study(
                    study_name=name,
                    storage=storage,
                    directions=["minimize", direction],
                    load_if_exists=True,
                )
                for role, name in _STUDIES.items()
            }

    # --- opening trials --------------------------------------------------------------------------

    def ask(
        self,
        sampler: BaseSampler,
        ranges: Mapping[str, IntDistribution],
        describe: Callable[[Mapping[str, int]], tuple[Plan, Mapping[str, Any]]],
    ) -> Plan | None:
        """Open a proposal.

        Args:
            sampler: Optuna's; it sees all trials of the study, the open ones too.
            ranges: Optuna's distributions: by the name of a dimension the index of its choice.
            describe: gives the plan of parameters, and attributes of the trial such as its size and
                the values that people read.

        Returns:
            its plan; None where the sampler has none left.
        """
        study = self._studies["search"]
        study.sampler = sampler
        with writing(self._path):
            try:
                trial = study.ask(fixed_distributions=dict(ranges))
            except NoPlanLeft:
                self._close_open_without_plan()
                return None
            plan, attributes = describe(trial.params)
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            trial.set_user_attr("trial", str(trial.number))
            trial.set_user_attr("plan", plan.to_dict())  # last: a trial with a plan is whole
        return plan

    def open_reference(self, name: str, plan: Plan, size_bytes: int) -> None:
        """Open the trial of a uniform plan.

        Args:
            name: of the trial, such as "w4".
            plan: of the trial.
            size_bytes: of its packed file.
        """
        with writing(self._path):
            trial = self._studies["reference"].ask()
            trial.set_user_attr("trial", name)
            trial.set_user_attr("size_bytes", size_bytes)
            trial.set_user_attr("plan", plan.to_dict())

    def close_interrupted(self) -> None:
        """Close the open trials that have no plan: their process was killed while it asked."""
        with writing(self._path):
            self._close_open_without_plan()

    def _close_open_without_plan(self) -> None:
        for study in self._studies.values():
            while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                study.ask()  # a waiting trial becomes a running one
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if "plan" not in trial.user_attrs:
                    open_trial = optuna.trial.Trial(study, trial._trial_id)
                    open_trial.set_user_attr(_WITHOUT_PLAN, True)
                    study.tell(open_trial, state=TrialState.FAIL)

    # --- changing trials -------------------------------------------------------------------------

    def add_score(self, role: TrialRole, name: str, score: Score, seconds: float) -> None:
        """Record the score of a training, in an open trial; nothing changes in one that has ended.

        Args:
            role: of the trial.
            name: of the trial.
            score: its steps, data order and score on the valid split.
            seconds: of the training, scoring included.
        """
        trial = self._open(role, name)
        if trial is None:
            return
        scores = sorted([*map(tuple, trial.user_attrs.get("scores", [])), score])
        with writing(self._path):
            trial.set_user_attr("scores", scores)
            trial.set_user_attr("seconds", trial.user_attrs.get("seconds", 0.0) + seconds)

    def end(
        self,
        role: TrialRole,
        name: str,
        state: OutcomeState,
        reason: str = "",
        values: tuple[float, float] | None = None,
    ) -> None:
        """Close an open trial; nothing changes in one that has ended.

        Args:
            role: of the trial.
            name: of the trial.
            state: how it ended.
            reason: why it did not complete, in words.
            values: size and score of a complete trial.
        """
        trial = self._open(role, name)
        if trial is None:
            return
        with writing(self._path):
            trial.set_user_attr("reason", reason)
            trial.set_user_attr("state", state)
            told = _ENDS.get(state, TrialState.FAIL)
            complete = told == TrialState.COMPLETE
            self._studies[role].tell(trial, values if complete else None, state=told)

    def _open(self, role: TrialRole, name: str) -> optuna.trial.Trial | None:
        """An open trial by its name; None where it has ended.

        Args:
            role: of the trial.
            name: of the trial.
        """
        study = self._studies[role]
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("trial") == name:
                return optuna.trial.Trial(study, trial._trial_id)
        return None

    def restore(
        self,
        outcome: Outcome,
        *,
        params: Mapping[str, int] | None = None,
        ranges: Mapping[str, IntDistribution] | None = None,
    ) -> None:
        """Add a trial as it was read from a table; one that may go on is open again.

        Args:
            outcome: of the trial. A proposal is named by its number; numbers that are missing
                before it are given to interrupted trials without a plan.
            params: a proposal's point: by the names of the dimensions, the index of the choice.
            ranges: Optuna's distributions of these parameters.
        """
        state = _ENDS.get(outcome.state, TrialState.FAIL)
        if outcome.state == "scored":
            state = TrialState.RUNNING
        complete = state == TrialState.COMPLETE
        assert outcome.score is not None or not complete
        trial = optuna.trial.create_trial(
            state=state,
            values=[outcome.size_bytes, outcome.score or 0.0] if complete else None,
            params=dict(params or {}),
            distributions=dict(ranges or {}) if params else {},
            user_attrs=_attributes(outcome),
        )
        study = self._studies[outcome.role]
        number = int(outcome.trial) if outcome.role == "search" else 0
        with writing(self._path):
            for _ in range(number - len(self.trials(outcome.role))):
                study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
            study.add_trial(trial)

    # --- reading ---------------------------------------------------------------------------------

    def trials(self, role: TrialRole) -> list[FrozenTrial]:
        """Optuna's records of the trials of one role.

        Args:
            role: of the trials.
        """
        return self._studies[role].get_trials(deepcopy=False)

    def outcomes(self) -> list[Outcome]:
        """Every trial that has a plan: references, then proposals, each in order."""
        return [
            outcome_of(trial, role)
            for role in _STUDIES
            for trial in self.trials(role)
            if "plan" in trial.user_attrs
        ]


def _refuse_one_objective(storage: JournalStorage, path: Path) -> None:
    """Raise a UserError where the trials are those of an earlier version.

    Args:
        storage: of the file.
        path: of the file.
    """
    names = {study.study_name: study.directions for study in storage.get_all_studies()}
    if len(names.get(_STUDIES["search"], (0, 0))) == 1:
        raise UserError(
            f"'{path}' was written by an earlier version, whose searches cannot be continued; take "
            "another study folder (report and apply still read this one)"
        )


def _attributes(outcome: Outcome) -> dict[str, Any]:
    """The user attributes of a trial, from its outcome."""
    return {
        "trial": outcome.trial,
        "size_bytes": outcome.size_bytes,
        "scores": [list(score) for score in outcome.scores],
        "seconds": outcome.seconds,
        "reason": outcome.reason,
        "state": outcome.state,
        "plan": outcome.plan.to_dict(),
    }


def is_proposal(trial: FrozenTrial) -> bool:
    """Whether a trial counts for a sampler; one that was closed before it had a plan does not.

    Its process may have been killed after its parameters were written. The next proposal is then
    the one that it would have been.

    Args:
        trial: of any study.
    """
    return not trial.user_attrs.get(_WITHOUT_PLAN, False)


def scores_of(trial: FrozenTrial) -> tuple[Score, ...]:
    """The recorded scores of a trial, by steps and data order.

    Args:
        trial: open or ended.
    """
    listed = trial.user_attrs.get("scores", [])
    return tuple((int(steps), int(order), float(score)) for steps, order, score in listed)


def state_of(trial: FrozenTrial) -> OutcomeState:
    """What became of a trial; one whose process was killed while closing it is interrupted.

    Args:
        trial: open or ended.
    """
    if not trial.state.is_finished():
        return "scored"
    state: OutcomeState = trial.user_attrs.get("state", "interrupted")
    return state if _ENDS.get(state, TrialState.FAIL) == trial.state else "interrupted"


def outcome_of(trial: FrozenTrial, role: TrialRole) -> Outcome:
    """A trial as an Outcome.

    Args:
        trial: with a plan. Attributes that a killed process did not write have defaults.
        role: of the trial.
    """
    attributes: dict[str, Any] = trial.user_attrs
    scores = scores_of(trial)
    history = rung_means(scores)
    steps, score = history[-1] if history else (0, None)
    return Outcome(
        trial=attributes["trial"],
        role=role,
        plan=Plan.from_dict(attributes["plan"]),
        size_bytes=attributes["size_bytes"],
        state=state_of(trial),
        score=score,
        steps=steps,
        seconds=attributes.get("seconds", 0.0),
        history=history,
        reason=attributes.get("reason", ""),
        scores=scores,
    )
