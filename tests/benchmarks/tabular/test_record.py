"""Recording: what is trained, in which order, and what a second process goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tabular.record import FULL, REPEATED, record, repeated_plans
from benchmarks.tabular.table import STEPS_FACTORS, PlanRow, RunRow, TableFolder


def plan(number: int) -> PlanRow:
    kind = "first" if number == 7 else "uniform" if number == 11 else "budget"
    return PlanRow(number, kind, (0.06, 0.08)[number % 2], 1000, 1, "0")


PLANS = [plan(number) for number in range(160)]


class Trainer:
    """Gives a plan's number as its loss, and stops after some trainings."""

    def __init__(self, most: int = 10_000) -> None:
        self.done: list[tuple[int, int, str]] = []
        self._most = most

    def __call__(self, plan: PlanRow, order: int, rung: str, trunk: Path) -> RunRow:
        if len(self.done) == self._most:
            raise KeyboardInterrupt
        assert trunk.parent.is_dir()
        self.done.append((plan.plan, order, rung))
        return RunRow(plan.plan, order, rung, STEPS_FACTORS[rung], plan.plan, 0.0, 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> TableFolder:
    folder = TableFolder(tmp_path)
    folder.write_plans(PLANS)
    return folder


def keys(folder: TableFolder) -> list[tuple[int, int, str]]:
    return [(run.plan, run.order, run.rung) for run in folder.runs()]


HALF = PLANS[:80]


def test_everything_is_trained_once(folder: TableFolder) -> None:
    record(folder, Trainer())
    rows = keys(folder)
    assert len(rows) == len({*rows})
    medium = {(number, order) for number, order, rung in rows if rung == "medium"}
    assert {number for number, order in medium if order == 0} == {*range(160)}
    assert {number for number, order in medium if order == 1} == {*range(160)}
    assert len({number for number, order in medium if order == 2}) == REPEATED
    full = {(number, order) for number, order, rung in rows if rung == "full"}
    assert len(full) == FULL
    assert {order for _, order in full} == {1}


def test_what_searches_begin_with_comes_first_in_all_orders(folder: TableFolder) -> None:
    trainer = Trainer()
    record(folder, trainer)
    assert [done[:2] for done in trainer.done[::2][:6]] == [
        (n, o) for n in (7, 11) for o in range(3)
    ]
    first_order = [number for number, order, rung in trainer.done if (order, rung) == (0, "short")]
    assert first_order == [7, 11, *(n for n in range(160) if n not in (7, 11))]


def test_a_stopped_recording_resumes(folder: TableFolder, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        record(folder, Trainer(25))  # within a plan
    assert len(keys(folder)) == 25
    record(folder, Trainer())
    rows = keys(folder)
    other = TableFolder(tmp_path / "other")
    other.path.mkdir()
    other.write_plans(PLANS)
    record(other, Trainer())
    assert len(rows) == len({*rows})
    assert {*rows} == {*keys(other)}
    again = Trainer()
    record(folder, again)
    assert again.done == []


def test_processes_share_a_table(folder: TableFolder) -> None:
    for most, part in ((30, 0), (40, 1)):
        with pytest.raises(KeyboardInterrupt):
            record(folder, Trainer(most), part, 2)
    rows = keys(folder)
    assert len(rows) == len({*rows}) == 70


def test_plans_with_several_orders() -> None:
    chosen = repeated_plans(HALF, {number: float(number) for number in range(160)})
    assert len(chosen) == len({*chosen}) == REPEATED
    assert {7, 11} <= {*chosen}
    assert {0, 2, 4, 6, 8, 1, 3, 5, 9, 13} <= {*chosen}  # the best of both budgets
