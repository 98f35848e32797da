"""TrialStorage: the trials of a study in Optuna's storage, and the Outcomes read from it.

Two Optuna studies share a file: "references" holds the uniform plans, "search" the proposals, so
that pruning and sampling compare proposals with proposals only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from autoquant.files import writing
from autoquant.plan import Plan
from autoquant.study.journal import repair
from autoquant.study.outcome import Outcome, OutcomeState, TrialRole
from autoquant.task import Direction

PRUNER_STARTUP = 4  # complete proposals before any is pruned
PRUNER_PERCENTILE = (
    75.0  # of earlier scores; short runs are noisy: only clearly bad ones are pruned
)

Trial = optuna.trial.Trial
"""An open trial, as ``TrialStorage.begin`` gives it."""

_STUDIES: dict[TrialRole, str] = {"reference": "references", "search": "search"}
_ENDS = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}  # others: FAIL


class TrialPruned(Exception):
    """The pruner has stopped a trial."""


class TrialStorage:
    """The trials of one study folder; every change is on disk when a method returns.

    Only one process at a time may open it: the one that holds the study's lock.

    Args:
        path: of Optuna's journal file; made where it is missing.
        direction: whether low or high scores are good.
        prune: whether proposals may be pruned by their intermediate scores.
    """

    def __init__(self, path: Path, direction: Direction, *, prune: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path = path
        repair(path)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if prune:
            pruner = optuna.pruners.PercentilePruner(
                PRUNER_PERCENTILE, n_startup_trials=PRUNER_STARTUP
            )
        with writing(path):
            storage = JournalStorage(JournalFileBackend(str(path)))
            self._studies = {
                role: optuna.create_study(
                    study_name=name,
                    storage=storage,
                    direction=direction,
                    pruner=pruner,
                    load_if_exists=True,
                )
                for role, name in _STUDIES.items()
            }

    def close_interrupted(self) -> None:
        """Close the trials that an interrupted search left open."""
        with writing(self._path):
            for study in self._studies.values():
                while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                    study.ask()  # a waiting trial becomes a running one
                for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                    study.tell(trial.number, state=TrialState.FAIL)

    def begin(
        self,
        role: TrialRole,
        plan: Plan,
        size_bytes: int,
        *,
        name: str | None = None,
        params: Mapping[str, int] | None = None,
        ranges: Mapping[str, IntDistribution] | None = None,
    ) -> Trial:
        """Open a trial.

        Args:
            role: a reference, or a proposal of the search.
            plan: that is trained.
            size_bytes: bytes of its packed file.
            name: in the study; the trial's number when None.
            params: a proposal's point: by the names of the dimensions, the index of the choice.
            ranges: Optuna's distributions of these parameters.
        """
        study = self._studies[role]
        with writing(self._path):
            if params:
                study.enqueue_trial(dict(params))
            trial = study.ask(fixed_distributions=dict(ranges or {}))
            trial.set_user_attr("trial", name or str(trial.number))
            trial.set_user_attr("size_bytes", size_bytes)
            trial.set_user_attr("plan", plan.to_dict())
        return trial

    def report(self, role: TrialRole, trial: Trial, step: int, score: float) -> None:
        """Record an intermediate score.

        Args:
            role: of the trial; only proposals of the search are pruned.
            trial: an open trial.
            step: training steps done.
            score: on the probe split.

        Raises:
            TrialPruned: the score is clearly worse than those of earlier trials at this step.
        """
        with writing(self._path):
            trial.report(score, step)
        if role == "search" and trial.should_prune():
            raise TrialPruned

    def end(
        self,
        role: TrialRole,
        trial: Trial,
        state: OutcomeState,
        *,
        score: float | None = None,
        steps: int | None = None,
        seconds: float = 0.0,
        reason: str = "",
    ) -> None:
        """Close a trial.

        Args:
            role: of the trial.
            trial: an open trial.
            state: how it ended.
            score: on the valid split, of a complete trial.
            steps: training steps done; None: those of the last intermediate score.
            seconds: wall-clock seconds, scoring included.
            reason: why it did not complete, in words.
        """
        values = score if state == "complete" else None
        with writing(self._path):
            for key, value in {"steps": steps, "seconds": seconds, "reason": reason}.items():
                if value is not None:
                    trial.set_user_attr(key, value)
            trial.set_user_attr("state", state)
            self._studies[role].tell(trial, values, state=_ENDS.get(state, TrialState.FAIL))

    def restore(
        self,
        outcome: Outcome,
        *,
        params: Mapping[str, int] | None = None,
        ranges: Mapping[str, IntDistribution] | None = None,
    ) -> None:
        """Add a trial that has ended, as it was read from a table.

        Args:
            outcome: of the trial. A proposal is named by its number; numbers that are missing
                before it are given to interrupted trials without a plan.
            params: a proposal's point, see ``begin``.
            ranges: Optuna's distributions of these parameters.
        """
        study, state = self._studies[outcome.role], _ENDS.get(outcome.state, TrialState.FAIL)
        attributes = {
            "trial": outcome.trial,
            "size_bytes": outcome.size_bytes,
            "plan": outcome.plan.to_dict(),
            "steps": outcome.steps,
            "seconds": outcome.seconds,
            "reason": outcome.reason,
            "state": outcome.state,
        }
        trial = optuna.trial.create_trial(
            state=state,
            value=outcome.score if state == TrialState.COMPLETE else None,
            params=dict(params or {}),
            distributions=dict(ranges or {}) if params else {},
            user_attrs=attributes,
            intermediate_values=dict(outcome.history),
        )
        number = int(outcome.trial) if outcome.role == "search" else 0
        with writing(self._path):
            for _ in range(number - len(self.trials(outcome.role))):
                study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
            study.add_trial(trial)

    def trials(self, role: TrialRole) -> list[FrozenTrial]:
        """Optuna's records of the trials of one role.

        Args:
            role: of the trials.
        """
        return self._studies[role].get_trials(deepcopy=False)

    def outcomes(self) -> list[Outcome]:
        """Every trial that has ended: references, then proposals, each in order."""
        return [
            outcome_of(trial, role)
            for role in _STUDIES
            for trial in self.trials(role)
            if trial.state.is_finished() and "plan" in trial.user_attrs
        ]


def state_of(trial: FrozenTrial) -> OutcomeState:
    """How a trial ended; one whose process was killed while closing it is interrupted.

    Args:
        trial: that has ended.
    """
    state: OutcomeState = trial.user_attrs.get("state", "interrupted")
    return state if _ENDS.get(state, TrialState.FAIL) == trial.state else "interrupted"


def outcome_of(trial: FrozenTrial, role: TrialRole) -> Outcome:
    """An ended trial as an Outcome.

    Args:
        trial: that has ended. Attributes that a killed process did not write have defaults.
        role: of the trial.
    """
    attributes: dict[str, Any] = trial.user_attrs
    history = tuple(sorted(trial.intermediate_values.items()))
    score = trial.value if trial.state == TrialState.COMPLETE else None
    if score is None and history:
        score = history[-1][1]
    return Outcome(
        trial=attributes["trial"],
        role=role,
        plan=Plan.from_dict(attributes["plan"]),
        size_bytes=attributes["size_bytes"],
        state=state_of(trial),
        score=score,
        steps=attributes.get("steps", history[-1][0] if history else 0),
        seconds=attributes.get("seconds", 0.0),
        history=history,
        reason=attributes.get("reason", "the search was stopped"),
    )
