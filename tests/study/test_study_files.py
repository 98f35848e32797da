"""The files of a study that follow from its trials."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from autoquant.study import study_files
from autoquant.study.folder import Study
from autoquant.study.journal import Journal
from autoquant.study.study_files import StudyFiles
from autoquant.study.trial_storage import TrialStorage
from tests.study.samples import PARAMETERS, plan_of
from tests.study.test_trial_lines import RECORD
from tests.study.test_trial_storage import Next

SIZES = {plan_of((0, n)): 100 * (n + 1) for n in range(3)}


class Place:
    """A study of three trials, of which the larger ones score better.

    Args:
        folder: of the study.
        bound: the largest accepted loss.
    """

    def __init__(self, folder: Path, bound: float | None = None) -> None:
        self.study = Study(folder)
        journal = Journal(self.study.journal_file, "minimize")
        self.storage = TrialStorage(self.study.trials_file, "minimize", PARAMETERS, journal)
        self.files = StudyFiles(self.study, self.storage, RECORD, (300, 150, 50), bound)

    def score(self, name: str, score: float) -> None:
        self.storage.ask(Next(), SIZES.__getitem__)
        self.storage.add_score("search", name, (10, 0, score), 1.0)
        self.storage.end("search", name, "complete")

    def fill(self) -> None:
        for number, score in enumerate((9.0, 8.0, 7.0)):
            self.score(str(number), score)

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.study.path.iterdir()}


def test_all_files_are_written(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.fill()
    place.files.write()
    assert place.names == {"trials.jsonl", "outcomes.csv", "plan.yaml", "journal.log"}
    assert place.study.outcomes() == place.storage.outcomes()
    heading, text = place.study.plan_file.read_text().split("\n", 1)
    assert heading == "# trial 2: perplexity 7 (valid), 300 bytes"
    assert yaml.safe_load(text) == yaml.safe_load(plan_of((0, 2)).to_yaml())


@pytest.mark.parametrize(
    ("bound", "chosen"),
    [(None, ["2", "0"]), (8.5, ["1"]), (1.0, [])],
    ids=["best score", "smallest within the bound", "none within the bound"],
)
def test_what_is_chosen_for_each_budget(
    bound: float | None, chosen: list[str], tmp_path: Path
) -> None:
    place = Place(tmp_path, bound)
    place.fill()
    assert [outcome.trial for outcome in place.files.chosen(place.storage.outcomes())] == chosen
    place.files.write()
    assert place.study.plan_file.is_file() == bool(chosen)


def test_a_plan_that_is_no_longer_chosen_is_removed(tmp_path: Path) -> None:
    place = Place(tmp_path, bound=7.0)
    place.study.plan_file.write_text("of earlier")
    place.fill()
    place.files.write()
    assert place.study.plan_file.is_file()  # 7.0 is within the bound
    Place(tmp_path, bound=6.0).files.write()
    assert not place.study.plan_file.exists()


class Slow:
    """A throttle whose work was done a moment ago."""

    def __init__(self, work: object) -> None:
        self.work, self.left = work, False

    def ask(self) -> None:
        self.left = True

    def finish(self) -> None:
        if self.left:
            self.work()  # type: ignore[operator]


def test_what_was_put_off_is_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_files, "Throttle", Slow)
    place = Place(tmp_path)
    place.fill()
    place.files.finish()
    assert place.names == {"trials.jsonl", "journal.log"}  # it was not told of a change
    place.files.changed()
    place.files.end_phase()
    assert "outcomes.csv" not in place.names
    place.files.finish()
    assert place.study.outcomes() == place.storage.outcomes()


def test_a_study_without_trials(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.files.write()
    assert place.study.outcomes() == []
    assert not place.study.plan_file.exists()
