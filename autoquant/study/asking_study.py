"""AskingStudy: the Optuna study, in memory, in which samplers are asked for proposals."""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autoquant.study.parameters import Indices, Ranges
from autoquant.study.trial_record import TrialRecord, sampler_attributes
from autoquant.task import Direction


class NoPlanLeft(Exception):
    """A sampler has no plan to propose that has not been tried."""


class AskingStudy:
    """All proposals of a search, open ones too, as a sampler sees them.

    A trial's number is its name. Two objectives: the size, and the score on the last rung.

    Args:
        ranges: of the parameters.
        direction: whether low or high scores are good.
        records: of the proposals so far, in order. Numbers that are missing are given to failed
            trials.
    """

    def __init__(
        self, ranges: Ranges, direction: Direction, records: Iterable[TrialRecord]
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges, self._storage = ranges, InMemoryStorage()
        self._study = optuna.create_study(
            study_name="search", storage=self._storage, directions=["minimize", direction]
        )
        self._id = self._storage.get_study_id_from_name("search")
        count = 0
        for record in records:
            for _ in range(int(record.outcome.trial) - count):
                self._study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
            attributes = sampler_attributes(record.outcome)
            self._study.add_trial(record.as_trial(ranges, attributes))
            count = int(record.outcome.trial) + 1

    def update(self, sampler: BaseSampler, records: Iterable[TrialRecord]) -> None:
        """Bring trials up to date.

        Args:
            sampler: is told which trials have ended.
            records: of open trials that have got scores, or have ended.
        """
        self._study.sampler = sampler
        for record in records:
            number = int(record.outcome.trial)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
            for key, value in sampler_attributes(record.outcome).items():
                self._storage.set_trial_user_attr(trial_id, key, value)
            if record.state.is_finished():
                self._study.tell(number, record.values, state=record.state)

    def ask(self, sampler: BaseSampler) -> Indices:
        """Open a trial; ``update`` gives it its attributes.

        Args:
            sampler: that proposes it.

        Returns:
            its parameters.

        Raises:
            NoPlanLeft: the sampler has none; the study is then of no use any more.
        """
        self._study.sampler = sampler
        number = self._study.ask(fixed_distributions=dict(self._ranges)).number
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        trial = self._storage.get_trial(trial_id)
        trial.distributions = self._ranges
        return tuple(int(trial.params[name]) for name in self._ranges)
