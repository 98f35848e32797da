from __future__ import annotations

import pytest

from autoquant.rounds import phase_times
from autoquant.rounds.phase_times import PhaseTimes
from tests.progress.told import Told


def test_times_add_up_by_phase_and_count_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.5, 10.0, 10.25, 20.0, 22.0])
    monkeypatch.setattr(phase_times.time, "monotonic", lambda: next(moments))
    times = PhaseTimes()
    with times.phase("short rung"):
        pass
    with times.phase("medium rung"):
        pass
    with pytest.raises(ValueError, match="mine"), times.phase("short rung"):
        raise ValueError("mine")
    assert times.seconds == {"short rung": 3.5, "medium rung": 0.25}
    assert str(times) == "time: short rung 3.5 s, medium rung 0.2 s; 3.8 s in all"


def test_phases_without_a_time_are_not_shown() -> None:
    assert (
        str(PhaseTimes({"learning rate": 0.01, "rounds": 3.0}))
        == "time: rounds 3.0 s; 3.0 s in all"
    )
    assert str(PhaseTimes({"learning rate": 0.01})) == "time: 0.0 s in all"


def test_trainings_of_a_phase_are_counted() -> None:
    told = Told()
    times = PhaseTimes(progress=told, workers=2)
    assert times.tally() == ""
    with times.phase("references"):
        times.expect(3)
        assert times.tally() == "0 of 3 trainings"
        times.ended(4.0)
        times.ended(8.0)
        assert times.tally() == "2 of 3 trainings, about 3.0 s left"
        times.expect(5)  # the next round of the same phase
        assert times.tally() == "2 of 7 trainings, about 15 s left"
    assert times.tally() == ""
    with times.phase("finalists"):
        times.ended(1.0)  # recorded before it was expected
        times.expect(1)
        assert times.tally() == "0 of 1 training"
    assert [bar.total for bar in told.bars] == [7, 1]


def test_the_end_of_a_phase_is_told_unless_an_error_ends_it() -> None:
    ended: list[str] = []
    times = PhaseTimes(at_end=lambda: ended.append("one"))
    with times.phase("references"):
        assert ended == []
    assert ended == ["one"]
    with pytest.raises(ValueError, match="mine"), times.phase("references"):
        raise ValueError("mine")
    assert ended == ["one"]
