from __future__ import annotations

import pytest

from benchmarks import timing
from tests.benchmarks.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: made.now)
    return made
