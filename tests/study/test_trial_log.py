"""Lines of JSON in a file that only grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoquant.study.trial_log import DamagedLog, Entry, TrialLog

VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text()
ENTRIES = st.dictionaries(st.text(), VALUES | st.lists(VALUES), max_size=4)


def test_there_is_no_file_before_the_first_line(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "log")
    assert [*log.entries()] == []
    assert [*tmp_path.iterdir()] == []


@settings(max_examples=15)
@given(st.lists(st.lists(ENTRIES, max_size=3), max_size=4))
def test_entries_come_back(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[Entry]]
) -> None:
    path = tmp_path_factory.mktemp("logs") / "log"
    for group in groups:
        TrialLog(path).append(*group)
    entries = [entry for group in groups for entry in group]
    assert repr([*TrialLog(path).entries()]) == repr(entries)  # NaN is not equal to itself


def test_an_incomplete_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    TrialLog(path).append({"event": "a"})
    with path.open("a") as file:
        file.write('{"event": "b"')
    log = TrialLog(path)
    log.append({"event": "c"})
    log.to_disk()
    assert [*log.entries()] == [{"event": "a"}, {"event": "c"}]


@pytest.mark.parametrize("line", [b"PK", b"[1]", b"3", b"", b"\xff\xfe", b'{"a": 1} {}'])
def test_a_damaged_line_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"event": "a"}\n' + line + b'\n{"event": "b"}\n')
    with pytest.raises(DamagedLog, match=r"^in line 2$"):
        [*TrialLog(path).entries()]
