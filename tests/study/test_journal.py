"""The journal for optuna-dashboard: what a plain JournalStorage reads, after any stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autoquant.errors import UserError
from autoquant.study import trial_storage
from autoquant.study.journal import Journal, refuse_one_objective
from autoquant.study.trial_storage import TrialStorage
from tests.study.samples import PARAMETERS, RANGES, REFERENCE, plan_of
from tests.study.test_trial_storage import ask


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_storage, "GROUP", 2)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def open_storage(folder: Path) -> TrialStorage:
    journal = Journal(folder / "journal.log", "minimize")
    return TrialStorage(folder / "trials.jsonl", "minimize", PARAMETERS, journal)


def fill(storage: TrialStorage) -> None:
    """A reference, and proposals that end in another order than that of their numbers."""
    storage.open_reference("w4", REFERENCE, 99)
    storage.add_score("reference", "w4", (10, 0, 1.0), 1.0)
    storage.end("reference", "w4", "complete")
    for _ in range(5):
        ask(storage)
    for name, state in (("3", "pruned"), ("0", "complete"), ("4", "failed"), ("1", "complete")):
        storage.add_score("search", name, (10, 0, 5.0), 1.5)
        storage.end("search", name, state, "because" if state != "complete" else "")  # type: ignore[arg-type]


def shown(folder: Path, study: str = "search") -> list[optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return optuna.load_study(study_name=study, storage=storage).trials


def names(folder: Path) -> list[str]:
    return [trial.user_attrs["trial"] for trial in shown(folder)]


def test_what_the_dashboard_reads(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    fill(storage)
    assert not (tmp_path / "journal.log").exists()
    storage.write_journal()
    (reference,) = shown(tmp_path, "references")
    assert (reference.user_attrs["trial"], reference.values) == ("w4", [99.0, 1.0])
    assert reference.user_attrs["plan"] == REFERENCE.to_dict()
    found = shown(tmp_path)
    assert [t.user_attrs["trial"] for t in found] == ["3", "0", "4", "1"]  # "2" is open
    assert [t.state.name for t in found] == ["PRUNED", "COMPLETE", "FAIL", "COMPLETE"]
    assert [t.values for t in found] == [None, [1234.0, 5.0], None, [1234.0, 5.0]]
    pruned = found[0]
    assert pruned.params == dict(zip(RANGES, (0, 3), strict=True))
    assert pruned.distributions == RANGES
    assert pruned.user_attrs == {
        "trial": "3",
        "size_bytes": 1234,
        "scores": [[10, 0, 5.0]],
        "seconds": 1.5,
        "choices": dict(zip(RANGES, ("1 bits", "4 bits"), strict=True)),
        "reason": "because",
        "state": "pruned",
        "plan": plan_of((0, 3)).to_dict(),
    }
    assert pruned.datetime_start is not None
    assert pruned.datetime_complete is not None
    assert pruned.datetime_start <= pruned.datetime_complete
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    directions = optuna.load_study(study_name="search", storage=storage).directions
    assert [direction.name for direction in directions] == ["MINIMIZE", "MINIMIZE"]


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    fill(storage)
    storage.write_journal()
    before = (tmp_path / "journal.log").read_bytes()
    storage.write_journal()
    open_storage(tmp_path).write_journal()
    assert (tmp_path / "journal.log").read_bytes() == before
    again = open_storage(tmp_path)
    again.end("search", "2", "pruned")
    again.write_journal()
    after = (tmp_path / "journal.log").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == before.count(b"\n") + 1
    assert names(tmp_path) == ["3", "0", "4", "1", "2"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("noted", [0, 1, 2, 3], ids=lambda n: f"{n} groups noted")
def test_a_kill_while_it_is_written(
    share: float, noted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log notes a group after the journal has it; of the next group any part may be there."""
    storage, log, journal = (
        open_storage(tmp_path),
        tmp_path / "trials.jsonl",
        tmp_path / "journal.log",
    )
    fill(storage)
    storage.write_journal()
    lines = log.read_text().splitlines(keepends=True)
    marks = [i for i, line in enumerate(lines) if '"journal"' in line]
    assert len(marks) == 3
    if noted < 3:
        log.write_text("".join(lines[: marks[noted]]))
    sizes = [0, *(int(lines[i].split('"bytes":')[1].rstrip("}\n")) for i in marks)]
    following = sizes[min(noted + 1, 3)] - sizes[noted]
    with journal.open("rb+") as file:
        file.truncate(sizes[noted] + int(share * following))
    (tmp_path / "journal.log.lock").symlink_to("journal.log")
    open_storage(tmp_path).write_journal()
    assert names(tmp_path) == ["3", "0", "4", "1"]
    assert len(shown(tmp_path, "references")) == 1
    assert not capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"trials.jsonl", "journal.log"}


def test_what_the_dashboard_has_added_stays(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    fill(storage)
    storage.write_journal()
    other = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    optuna.load_study(study_name="search", storage=other).set_user_attr("note", "mine")
    storage.end("search", "2", "pruned")
    storage.write_journal()
    again = open_storage(tmp_path)
    again.write_journal()
    other = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = optuna.load_study(study_name="search", storage=other)
    assert study.user_attrs == {"note": "mine"}
    assert names(tmp_path) == ["3", "0", "4", "1", "2"]


def test_a_file_that_is_not_ours_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(tmp_path)
    fill(storage)
    storage.write_journal()
    content = b"PK\x03\x04 something else\n" * 2000
    (tmp_path / "journal.log").write_bytes(content)
    open_storage(tmp_path).write_journal()
    assert names(tmp_path) == ["3", "0", "4", "1"]
    assert (tmp_path / "journal.log.damaged").read_bytes() == content
    assert "is damaged, or of an earlier version: it is written anew" in capsys.readouterr().err


def test_a_group_does_not_read_the_trials_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, read = open_storage(tmp_path), []
    real = optuna.storages.journal._storage.JournalStorageReplayResult.apply_logs

    def apply_logs(self: Any, logs: Any) -> None:
        listed = [*logs]
        read.append(len(listed))
        real(self, listed)

    monkeypatch.setattr(
        "optuna.storages.journal._storage.JournalStorageReplayResult.apply_logs", apply_logs
    )
    counts = []
    for number in range(20):
        name = str(number)
        storage.open_reference(name, REFERENCE, 99)
        storage.end("reference", name, "pruned")
        read.clear()
        storage.write_journal()
        counts.append(sum(read))
    assert {*counts[1:]} == {3}  # two studies and the trial


def test_one_objective_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    refuse_one_objective(path)
    path.write_text("something else\n")
    refuse_one_objective(path)
    path.unlink()
    storage = JournalStorage(JournalFileBackend(str(path)))
    optuna.create_study(study_name="search", storage=storage)
    with pytest.raises(UserError, match="earlier version"):
        refuse_one_objective(path)
