"""LiveTrials: shows the trials while they are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from autoquant.progress import Progress, TrialRow
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import Outcome
from autoquant.study.running_noise import RunningNoise
from autoquant.study.throttle import Throttle
from autoquant.study.trial_lines import search_rows, trial_line


class LiveTrials:
    """A line for each training that has ended, and the rows of a table now and then.

    Args:
        progress: shows them.
        record: of the float model.
        outcomes: gives those of all trials.
        chosen: gives those that would be chosen now.
    """

    def __init__(
        self,
        progress: Progress,
        record: BaselineRecord,
        outcomes: Callable[[], Sequence[Outcome]],
        chosen: Callable[[Sequence[Outcome]], Iterable[Outcome]],
    ) -> None:
        self._progress, self._record = progress, record
        self._outcomes, self._chosen = outcomes, chosen
        self._noise = RunningNoise(outcomes())
        self._rows: list[TrialRow] = []
        self._table = Throttle(self._make_rows)

    def changed(self, outcome: Outcome, tally: str) -> None:
        """Show a trial.

        Args:
            outcome: of the trial, with a new score, or ended.
            tally: trainings that have ended, of how many.
        """
        self._noise.update(outcome)
        line = trial_line(outcome, self._noise.on(outcome.steps), self._record, tally)
        self._table.ask()
        # No training has ended when a trial is complete or pruned.
        self._progress.show(self._rows, "" if outcome.state in ("complete", "pruned") else line)

    def finish(self) -> None:
        """Show all trials as they are by now."""
        self._table.finish()
        if self._rows:
            self._progress.show(self._rows, "")

    def _make_rows(self) -> None:
        outcomes = self._outcomes()
        self._rows = search_rows(outcomes, self._record, self._chosen(outcomes))
