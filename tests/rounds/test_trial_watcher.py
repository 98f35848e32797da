"""What happens when trials change: files, lines and the user's function."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoquant.errors import WriteError
from autoquant.rounds.phase_times import PhaseTimes
from autoquant.rounds.trial_watcher import TrialWatcher
from autoquant.study.live_trials import LiveTrials
from autoquant.study.outcome import Outcome
from tests.study.test_live_trials import Shown
from tests.study.test_study_files import Place
from tests.study.test_trial_lines import RECORD
from tests.study.test_trial_storage import Next


class Watched(Place):
    """A study that is watched; ``told`` has the outcomes that the user's function got."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shown, self.told, self.times = Shown(), list[Outcome](), PhaseTimes()
        live = LiveTrials(self.shown, RECORD, self.storage.outcomes, self.files.chosen)
        self.watcher = TrialWatcher(self.storage, self.files, live, self.times, self.told.append)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_the_user_is_told_of_trials_that_have_ended(watched: Watched) -> None:
    with watched.watcher.watching():
        watched.storage.ask(Next(), lambda plan: 100)
        watched.storage.add_score("search", "0", (10, 0, 9.0), 1.0)
        watched.watcher.changed("0", "search")
        assert watched.told == []
        watched.storage.end("search", "0", "pruned", "because")
        watched.watcher.changed("0", "search")
    assert watched.told == watched.storage.outcomes() == watched.study.outcomes()
    assert ["perplexity 9" in line for line in watched.shown.lines[:2]] == [True, False]


def test_files_are_written_at_the_end_of_a_phase(watched: Watched) -> None:
    with watched.watcher.watching():
        with watched.times.phase("short rung"):
            watched.score("0", 9.0)
            assert not watched.study.outcomes_file.exists()
        assert watched.study.outcomes() == watched.storage.outcomes()
    watched.study.outcomes_file.unlink()
    with watched.times.phase("later"):
        pass
    assert not watched.study.outcomes_file.exists()  # it is no longer watched


def test_files_are_written_though_nothing_has_changed(watched: Watched) -> None:
    with watched.watcher.watching():
        pass
    assert watched.study.outcomes() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_leaves_the_files_up_to_date(error: type[BaseException], watched: Watched) -> None:
    def stopped() -> None:
        with watched.watcher.watching():
            for number in range(2):
                watched.score(str(number), 9.0)
                watched.watcher.changed(str(number), "search")
            raise error

    with pytest.raises(error):
        stopped()
    assert [outcome.trial for outcome in watched.study.outcomes()] == ["0", "1"]


def test_the_error_itself_is_raised_where_files_cannot_be_written(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise WriteError("full")

    monkeypatch.setattr(watched.files, "finish", full)
    with pytest.raises(ValueError, match="mine"), watched.watcher.watching():
        raise ValueError("mine")
