"""Records as rows and as JSON: round trips, older files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.plan import Bits, LayerChoice, Plan
from autoquant.study.records import columns, from_csv, from_json, from_row, to_csv, to_json, to_row

PLAN = Plan({"rnn.l0": LayerChoice(1.6, 8, 1.5, hidden_bits=4), "decoder": LayerChoice(4, 8)})


@dataclass(frozen=True)
class Inner:
    name: str
    bits: Bits | None = None
    plan: Plan | None = None


@dataclass(frozen=True)
class Record:
    inner: Inner
    state: Literal["good", "bad"]
    init_from: str
    count: int
    score: float | None
    history: tuple[tuple[int, float], ...] = ()
    reason: str = ""
    path: Path = Path("here")
    note: str | None = None


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)
NUMBERS = st.floats(allow_nan=False)
RECORDS = st.builds(
    Record,
    inner=st.builds(
        Inner,
        name=WORDS,
        bits=st.none() | st.sampled_from([1, 1.6, 4, 32]),
        plan=st.none() | st.just(PLAN),
    ),
    state=st.sampled_from(["good", "bad"]),
    init_from=WORDS,
    count=st.integers(0, 10**12),
    score=st.none() | NUMBERS,
    history=st.lists(st.tuples(st.integers(0, 99), NUMBERS), max_size=3).map(tuple),
    reason=WORDS,
    path=st.sampled_from([Path("a/b.txt"), Path("/tmp")]),
    note=st.none() | WORDS.filter(bool),
)
RECORD = Record(Inner("a", 4, PLAN), "good", "scratch", 3, 0.5, ((1, 2.0),))


@given(RECORDS)
def test_rows_are_read_back(record: Record) -> None:
    read = from_row(Record, to_row(record))
    assert read == record
    assert type(read.inner.bits) is type(record.inner.bits)


@given(st.lists(RECORDS, max_size=3))
def test_tables_are_read_back(records: list[Record]) -> None:
    columns = list(to_row(RECORD))
    assert from_csv(Record, to_csv(columns, map(to_row, records))) == records


@given(RECORDS)
def test_json_is_read_back(record: Record) -> None:
    flat = Record(Inner("x"), *list(vars(record).values())[1:])  # JSON has no column of two types
    assert from_json(Record, json.loads(json.dumps(to_json(flat)))) == flat


def test_a_row_is_text() -> None:
    assert to_row(RECORD) == {
        "name": "a",
        "bits": "4",
        "plan": json.dumps(PLAN.to_dict()),
        "state": "good",
        "init_from": "scratch",
        "count": "3",
        "score": "0.5",
        "history": "[[1, 2.0]]",
        "reason": "",
        "path": "here",
        "note": "",
    }


def test_columns_and_keys_of_earlier_versions_are_read() -> None:
    row = to_row(RECORD)
    row["start"] = row.pop("init_from")
    assert from_row(Record, {**row, "another": "column"}) == RECORD
    content = to_json(Record(Inner("x"), "bad", "baseline", 1, None))
    content["start"] = content.pop("init_from")
    assert from_json(Record, content).init_from == "baseline"


@pytest.mark.parametrize(
    "change",
    [
        {"state": "lost"},
        {"count": "three"},
        {"count": ""},
        {"score": "much"},
        {"plan": "{"},
        {"plan": '{"a": {"weight_bits": 9}}'},
        {"history": "[[1]]"},
        {"count": None},
    ],
)
def test_rows_that_are_refused(change: dict[str, Any]) -> None:
    row = {**to_row(RECORD), **change}
    missing = {name: text for name, text in row.items() if text is not None}
    with pytest.raises(ValueError, match=r".") as raised:
        from_row(Record, missing)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("change", [{"extra": 1}, {"inner": {}}, {"history": 3}, {"state": 1}])
def test_json_that_is_refused(change: dict[str, Any]) -> None:
    content = {**to_json(Record(Inner("x"), "bad", "baseline", 1, None)), **change}
    with pytest.raises(ValueError, match=r"\$"):
        from_json(Record, content)
    for other in ([], None, "text"):
        with pytest.raises(ValueError, match="must be a mapping"):
            from_json(Record, other)


def test_columns_of_a_table_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert [*columns(path, "a")] == []
    path.write_text('a,b,c\n1,"{not, read",3\n4,' + "x" * 200_000 + ",6\n")
    assert [*columns(path, "c", "a")] == [("3", "1"), ("6", "4")]
    with pytest.raises(ValueError, match="d"):
        [*columns(path, "a", "d")]
    path.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(ValueError, match="utf-8"):
        [*columns(path, "a")]
