"""TensorBoardLog: losses, learning rates and scores of a study, in files for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from autoquant.distribution import extra_command
from autoquant.errors import UserError
from autoquant.files import writing
from autoquant.study.outcome import Outcome
from autoquant.study.sweep_table import SweepRunResult
from autoquant.training.callbacks import StepResult

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOSS_STEPS = 10
"""Training steps between two losses that are written; reading one waits for the device."""
FLUSH_SECONDS = 2
"""Seconds after which what was written is in the file: few, since a process may be killed."""
PROPOSALS = "trials"
"""TensorBoard run of the scores and sizes of a search's proposals, by the number of the trial."""


def check_tensorboard(wanted: bool) -> None:
    """Raise a UserError where TensorBoard is asked for and not installed.

    Args:
        wanted: the setting.

    Raises:
        UserError: the package is missing.
    """
    if wanted and find_spec("tensorboard") is None:
        raise UserError(
            "tensorboard=true must have tensorboard installed "
            f"({extra_command('tensorboard')}), got none"
        )


@contextmanager
def open_log(
    wanted: bool, folder: Path, run_names: Mapping[str, str] | None = None
) -> Iterator[TensorBoardLog | None]:
    """A log that is closed at the end of the block; None where none is wanted.

    Args:
        wanted: the setting.
        folder: see TensorBoardLog.
        run_names: see TensorBoardLog.
    """
    if not wanted:
        yield None
        return
    with closing(TensorBoardLog(folder, run_names)) as log:
        yield log


class TensorBoardLog:
    """Writes what trainings give into one TensorBoard run for each, a sub-folder of its name.

    A training that goes on does so in its run: what an earlier process wrote of steps that are done
    again, because they came after its last checkpoint or in a cool-down, no longer counts. A
    training that starts again takes the place of the earlier one.

    The final score and the size of a plan are written where they compare: those of a search's
    proposals into the run PROPOSALS, by the number of the trial; those of references and of a
    sweep's runs into the run of their training, at step 0.

    Args:
        folder: that TensorBoard is to be called with; made when something is written.
        run_names: names of TensorBoard runs, by those of the trainings, where they are not the
            same.
    """

    def __init__(self, folder: Path, run_names: Mapping[str, str] | None = None) -> None:
        self._folder, self._run_names = folder, dict(run_names or {})
        self._writers: dict[str, SummaryWriter] = {}
        self._last_steps: dict[str, int] = {}  # by TensorBoard run

    def on_step(self, result: StepResult) -> None:
        """Write the loss and the learning rate, every LOSS_STEPS steps and at the end; any score.

        Args:
            result: of the step.

        Raises:
            WriteError: the folder cannot be written.
        """
        values: dict[str, float] = {}
        if result.step % LOSS_STEPS == 0 or result.step == result.steps:
            values = {"training/loss": float(result.loss), "training/lr": result.lr}
        if result.score is not None:
            values["training/probe score"] = result.score
        first = result.step if result.step > 1 else 0  # a new training replaces the final score too
        run = self._run_names.get(result.run, result.run)
        if run in self._writers and result.step <= self._last_steps.get(run, 0):
            self._close(run)  # a longer rung, which does the steps of the cool-down again
        self._last_steps[run] = result.step
        self._write(run, result.step, values, first)

    def on_trial(self, outcome: Outcome) -> None:
        """Write the size of a search's trial that has ended, and its score if it is complete.

        Args:
            outcome: of the trial.

        Raises:
            WriteError: the folder cannot be written.
        """
        proposed = outcome.role == "search"
        run = PROPOSALS if proposed else f"trial {outcome.trial}"
        score = outcome.score if outcome.state == "complete" else None
        step = int(outcome.trial) if proposed else 0
        self._write(run, step, _final(score, outcome.size_bytes))

    def on_run(self, result: SweepRunResult) -> None:
        """Write the size and the score of a sweep's run that has ended, where it has them.

        Args:
            result: of the run.

        Raises:
            WriteError: the folder cannot be written.
        """
        values = _final(result.valid, result.size_bytes)
        if values:
            self._write(result.run.name, 0, values)

    def close(self) -> None:
        """Write what has not been written, and close the files.

        Raises:
            WriteError: the folder cannot be written.
        """
        self._close(*self._writers)

    def _write(
        self, run: str, step: int, values: Mapping[str, float], first: int | None = None
    ) -> None:
        """Write values into a run.

        Args:
            run: name of the TensorBoard run.
            step: at which they are shown.
            values: by their tags.
            first: where the run is opened by this call, the step from which on earlier values no
                longer count; None: all count.
        """
        with writing(self._folder):
            writer = self._writer(run, first)
            for tag, value in values.items():
                writer.add_scalar(tag, value, step)  # type: ignore[no-untyped-call, unused-ignore]

    def _writer(self, run: str, first: int | None) -> SummaryWriter:
        """The writer of a run; trainings follow one another, so that of the last one is closed.

        Args:
            run: name of the TensorBoard run.
            first: see ``_write``.
        """
        if run not in self._writers:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._close(*(name for name in self._writers if PROPOSALS not in (name, run)))
            self._writers[run] = SummaryWriter(
                str(self._folder / run), purge_step=first, flush_secs=FLUSH_SECONDS
            )
        return self._writers[run]

    def _close(self, *runs: str) -> None:
        with writing(self._folder):
            for run in runs:
                self._writers.pop(run).close()


def _final(score: float | None, size_bytes: int | None) -> dict[str, float]:
    """The values of a plan that was trained, by their tags, without those that it has not.

    Args:
        score: on the valid split.
        size_bytes: of the packed file.
    """
    values = {"plan/score": score, "plan/size in bytes": size_bytes}
    return {tag: value for tag, value in values.items() if value is not None}
