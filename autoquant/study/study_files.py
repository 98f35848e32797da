"""StudyFiles: the files of a study that are written from its trials."""

from __future__ import annotations

from collections.abc import Sequence

from autoquant.files import replacing, write_text, writing
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome, write_csv
from autoquant.study.selection import select
from autoquant.study.throttle import Throttle
from autoquant.study.trial_storage import TrialStorage


class StudyFiles:
    """Writes the outcomes, the chosen plan and the journal for optuna-dashboard.

    Args:
        folder: of the study.
        storage: of its trials.
        record: of the float model.
        budgets: in bytes, the largest first.
        bound: the largest accepted loss, where the smallest such plan is looked for.
    """

    def __init__(
        self,
        folder: Study,
        storage: TrialStorage,
        record: BaselineRecord,
        budgets: Sequence[int],
        bound: float | None,
    ) -> None:
        self._folder, self._storage, self._record = folder, storage, record
        self._budgets, self._bound = budgets, bound
        self._tables = Throttle(self._write_tables)
        self._journal = Throttle(storage.write_group)

    def changed(self) -> None:
        """Write after a change of the trials, unless that has been done a short while ago."""
        self._tables.ask()
        self._journal.ask()

    def end_phase(self) -> None:
        """Write the tables, unless that has just been done: workers may wait for what follows."""
        self._tables.ask()

    def finish(self) -> None:
        """Write what has changed."""
        self._tables.finish()
        self._storage.write_journal()

    def write(self) -> None:
        """Write all files, for one may be missing though nothing has changed."""
        self._write_tables()
        self._storage.write_journal()

    def chosen(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The plan that would be chosen now for each budget that one fits.

        Args:
            outcomes: of all trials.
        """
        direction = self._record.direction
        selections = (select(outcomes, b, direction, self._bound) for b in self._budgets)
        return [selection.chosen for selection in selections if selection is not None]

    def _write_tables(self) -> None:
        self._storage.to_disk()  # before the table, which shall have no trials that the log lacks
        outcomes = self._storage.outcomes()
        with (
            replacing(self._folder.outcomes_file) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            write_csv(file, outcomes, self._record.size_bytes)
        self._write_plan(outcomes)

    def _write_plan(self, outcomes: Sequence[Outcome]) -> None:
        """Write the plan that is chosen for the largest budget.

        Args:
            outcomes: of all trials.
        """
        folder, record = self._folder, self._record
        selection = select(outcomes, self._budgets[0], record.direction, self._bound)
        if selection is None:  # longer trainings may have shown that no plan is within the bound
            with writing(folder.plan_file):
                folder.plan_file.unlink(missing_ok=True)
            return
        chosen = selection.chosen
        heading = (
            f"# trial {chosen.trial}: {record.metric} {chosen.score:.6g} ({chosen.split}), "
            f"{chosen.size_bytes} bytes\n"
        )
        write_text(folder.plan_file, heading + chosen.plan.to_yaml())
