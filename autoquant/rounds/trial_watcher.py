"""TrialWatcher: writes the study's files, and tells the user, when trials have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from autoquant.errors import WriteError
from autoquant.rounds.phase_times import PhaseTimes
from autoquant.study.live_trials import LiveTrials
from autoquant.study.outcome import Outcome, TrialRole
from autoquant.study.study_files import StudyFiles
from autoquant.study.trial_storage import TrialStorage


@dataclass(frozen=True)
class TrialWatcher:
    """Writes the study's files, and tells the user, when trials have changed.

    Attributes:
        storage: of the trials.
        files: that are written from them.
        live: shows them.
        times: of the phases.
        on_trial: called with the outcome of each trial that has ended.
    """

    storage: TrialStorage
    files: StudyFiles
    live: LiveTrials
    times: PhaseTimes
    on_trial: Callable[[Outcome], None] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Write the files at the end of each phase, and of the block, after an error too."""
        self.times.at_end = self.files.end_phase
        try:
            yield
        except BaseException:
            with suppress(WriteError):  # the error itself is of more interest
                self.finish()
            raise
        finally:
            self.times.at_end = lambda: None
        self.files.write()

    def changed(self, name: str, role: TrialRole) -> None:
        """Show the last score of a trial, and tell the callback if it has ended.

        Args:
            name: of the trial.
            role: of the trial.
        """
        outcome = self.storage.outcome(role, name)
        self.files.changed()
        self.live.changed(outcome, self.times.tally())
        if outcome.state != "scored" and self.on_trial is not None:
            self.on_trial(outcome)

    def finish(self) -> None:
        """Write and show what has changed."""
        self.files.finish()
        self.live.finish()
