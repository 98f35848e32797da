"""The record of what few bits cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.errors import UserError

NEVER_WRITTEN = (
    *("", "[]", "{}", '{"rises": 3}', '{"rises": {"a": {}}}', '{"rises": {"a.width": {}}}'),
    '{"rises": {"a.weight_bits": {"2": "x"}}}',
)


@pytest.mark.parametrize("text", NEVER_WRITTEN)
def test_a_file_that_no_search_wrote(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.json"
    path.write_text(text)
    with pytest.raises(UserError, match="must be as a search wrote it"):
        Sensitivity.read(path)


def test_infinite_rises_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "sensitivity.json"
    given = Sensitivity({"a.weight_bits": {1.6: math.inf, 2.0: 0.5}})
    path.write_text(given.to_json())
    assert Sensitivity.read(path) == given
    assert json.loads(path.read_text())["rises"]["a.weight_bits"] == {"1.6": math.inf, "2.0": 0.5}
