from __future__ import annotations

import pytest

from autoquant.exports.onnx import files


@pytest.fixture(scope="session", autouse=True)
def quick_exports(tables_made_once: None) -> None:
    """Exports of small models take a second less."""


@pytest.fixture(autouse=True)
def unmeasured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started to measure memory, but where a test is marked by its name."""
    if "measured" not in request.node.name:
        monkeypatch.setattr(files, "session_memory", lambda path, feeds: None)
