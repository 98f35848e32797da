"""TrialRecord: all that is kept of a trial in memory; as one of Optuna's trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from autoquant.study.outcome import Outcome, OutcomeState
from autoquant.study.parameters import Indices, Ranges

_STATES: dict[OutcomeState, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "scored": TrialState.RUNNING,
}

Score = tuple[int, int, float]
"""(steps, data order, score) of one training."""


@dataclass(slots=True)
class TrialRecord:
    """A trial.

    Attributes:
        outcome: of the trial by now.
        indices: of a proposal's parameters; None for a reference, and for a plan outside the space.
        opened: seconds since 1970.
        ended: the same; None while the trial is open.
    """

    outcome: Outcome
    indices: Indices | None
    opened: float
    ended: float | None = None

    @property
    def state(self) -> TrialState:
        """Optuna's state."""
        return _STATES.get(self.outcome.state, TrialState.FAIL)

    @property
    def values(self) -> list[float] | None:
        """Size and score of a complete trial, which are the objectives."""
        outcome = self.outcome
        if self.state != TrialState.COMPLETE or outcome.score is None:
            return None
        return [outcome.size_bytes, outcome.score]

    def as_trial(self, ranges: Ranges, attributes: Mapping[str, Any]) -> FrozenTrial:
        """The trial as Optuna keeps it.

        Args:
            ranges: of the parameters.
            attributes: its user attributes.
        """
        params = {} if self.indices is None else dict(zip(ranges, self.indices, strict=True))
        trial = optuna.trial.create_trial(
            state=self.state,
            values=self.values,
            params=params,
            distributions=ranges if params else {},
            user_attrs=dict(attributes),
        )
        if params:
            trial.distributions = ranges
        trial.datetime_start = datetime.fromtimestamp(self.opened)
        if self.ended is not None:
            trial.datetime_complete = datetime.fromtimestamp(self.ended)
        return trial


def scores_of(trial: FrozenTrial) -> tuple[Score, ...]:
    """The recorded scores of a trial, by steps and data order.

    Args:
        trial: open or ended, of any study.
    """
    listed = trial.user_attrs.get("scores", [])
    return tuple((int(steps), int(order), float(score)) for steps, order, score in listed)


def sampler_attributes(outcome: Outcome) -> dict[str, Any]:
    """The user attributes that samplers may read.

    Args:
        outcome: of the trial.
    """
    return {
        "trial": outcome.trial,
        "size_bytes": outcome.size_bytes,
        "scores": [list(score) for score in outcome.scores],
        "seconds": outcome.seconds,
    }


def all_attributes(record: TrialRecord, readable: Mapping[str, str]) -> dict[str, Any]:
    """The user attributes that people see.

    Args:
        record: of the trial.
        readable: what the choices of its parameters are called.
    """
    outcome = record.outcome
    return {
        **sampler_attributes(outcome),
        **({"choices": dict(readable)} if readable else {}),
        "reason": outcome.reason,
        "state": outcome.state,
        "plan": outcome.plan.to_dict(),
    }
