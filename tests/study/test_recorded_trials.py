"""The trials of a study that goes on: of its log, or restored from its table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoquant.errors import UserError
from autoquant.study.outcome import Outcome
from autoquant.study.recorded_trials import MAX_GAP, open_trials
from autoquant.study.trial_storage import TrialStorage
from tests.study.samples import PARAMETERS
from tests.study.test_study_files import Place


def opened(place: Place) -> TrialStorage:
    return open_trials(place.study, "minimize", PARAMETERS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill()
    made.files.write()
    return made


def test_a_new_study_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert opened(Place(tmp_path)).outcomes() == []
    assert capsys.readouterr().err == ""


def test_the_log_is_the_record(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.study.outcomes_file.unlink()
    assert opened(place).outcomes() == place.storage.outcomes()
    assert capsys.readouterr().err == ""


def cut(text: str) -> str:
    """A log without its last trial."""
    return "".join(text.splitlines(keepends=True)[:-4])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(lambda text: "PK\n" + text, "is damaged in line 1: its trials", id="damaged"),
        pytest.param(cut, "is damaged: its trials", id="lacks trials"),
        pytest.param(lambda text: "", "has no trials: its trials", id="empty"),
        pytest.param(None, "has no trials: its trials", id="not there"),
    ],
)
def test_restored_from_the_table(
    change: Callable[[str], str] | None,
    line: str,
    place: Place,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = place.study.trials_file
    before, expected = log.read_text(), place.storage.outcomes()
    if change is None:
        log.unlink()
    else:
        log.write_text(change(before))
    assert opened(place).outcomes() == expected
    error = capsys.readouterr().err
    assert f"'{log}' {line} are restored from 'outcomes.csv'" in error
    aside = log.with_name("trials.jsonl.damaged")
    assert aside.exists() == ("is kept as 'trials.jsonl.damaged'" in error)
    assert not aside.exists() or aside.read_text() == change(before)  # type: ignore[misc]
    assert opened(place).outcomes() == expected
    assert capsys.readouterr().err == ""  # the new log is whole


@pytest.mark.parametrize("table", ["damaged", "not there"])
def test_both_are_lost(table: str, place: Place) -> None:
    place.study.trials_file.write_text("PK\n")
    if table == "damaged":
        place.study.outcomes_file.write_text("trial,role\n1,2,3\n")
        expected = "must be"
    else:
        place.study.outcomes_file.unlink()
        expected = r"must be as a search wrote it, got damage in line 1; restore it"
    before = {path: path.read_bytes() for path in place.study.path.iterdir()}
    with pytest.raises(UserError, match=expected):
        opened(place)
    assert {path: path.read_bytes() for path in place.study.path.iterdir()} == before


def test_a_damaged_table_beside_a_whole_log(place: Place) -> None:
    place.study.outcomes_file.write_text("trial,role\n1,2,3\n")
    assert opened(place).outcomes() == place.storage.outcomes()


def rename(place: Place, names: list[str]) -> None:
    """Give the trials of a table other names."""
    text = place.study.outcomes_file.read_text()
    head, *rows = text.splitlines(keepends=True)
    column = head.strip().split(",").index("trial")
    changed = []
    for row, name in zip(rows, names, strict=True):
        cells = row.split(",")
        cells[column] = name
        changed.append(",".join(cells))
    place.study.outcomes_file.write_text(head + "".join(changed))


@pytest.mark.parametrize(
    ("names", "accepted"),
    [
        pytest.param(["0", "1", "2"], True, id="as they were"),
        pytest.param(["0", "5", str(5 + MAX_GAP)], True, id="gaps"),
        pytest.param(["0", "5", str(6 + MAX_GAP)], False, id="a large gap"),
        pytest.param(["0", "2", "1"], False, id="not rising"),
        pytest.param(["0", "0", "1"], False, id="twice"),
        pytest.param(["0", "1", "best"], False, id="no number"),
        pytest.param(["0", "1", "٢"], False, id="no ASCII digit"),
        pytest.param(["0", "1", "9999999999"], False, id="too large"),
    ],
)
def test_numbers_of_a_table(names: list[str], accepted: bool, place: Place) -> None:
    rename(place, names)
    place.study.trials_file.unlink()
    if accepted:
        found: list[Outcome] = opened(place).outcomes()
        assert [outcome.trial for outcome in found] == names
    else:
        with pytest.raises(UserError, match=r"outcomes\.csv' must be as a search wrote it"):
            opened(place)
