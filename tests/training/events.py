"""What TensorBoard's own reader finds in a folder."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

EventsOf = dict[str, dict[str, list[tuple[int, float]]]]
"""(step, value) by TensorBoard run and tag."""


def name_files_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name each file after another second, as those of two processes are.

    Args:
        monkeypatch: undoes it.
    """
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    clock = count(int(time.time()))
    monkeypatch.setattr(writer, "time", SimpleNamespace(time=lambda: next(clock)))


def events_of(folder: Path) -> EventsOf:
    """The scalars of each run, read by TensorBoard.

    Args:
        folder: that TensorBoard would be called with.
    """
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    runs: EventsOf = {}
    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        events = reader.EventAccumulator(str(run)).Reload()
        scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        runs[run.name] = {
            tag: [(event.step, round(event.value, 5)) for event in found]
            for tag, found in scalars.items()
            if found  # nothing is left of what was written before a training started again
        }
    return runs
