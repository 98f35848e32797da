from __future__ import annotations

import pytest

from autoquant.rounds import phase_times
from autoquant.rounds.phase_times import PhaseTimes


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
