"""JSON that anybody may have written: read within bounds, or refused in a few words."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest

from autoquant.errors import UserError
from autoquant.plan import Plan
from autoquant.reading import UnreadableError, read_json
from autoquant.study.folder import Study

BAD_JSON = {
    "deep": ("[" * 100_000, "values that are nested too deeply"),
    "digits": ("9" * 5000, "a number with too many digits"),
    "syntax": ('{"a":\n}', "a syntax error at line 2"),
    "bytes": (b'{"a": "\xff"}', "bytes that are no UTF-8 text"),
}


@pytest.mark.parametrize(("text", "reason"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_json(text)


@pytest.mark.parametrize("name", ["baseline.json", "outcomes.csv"])
def test_damaged_records_of_a_study(name: str, tmp_path: Path) -> None:
    """Any bytes, and any valid JSON in the place of the right one, give one line."""
    study, choice = Study(tmp_path), random.Random(0)
    record = '{"score": 1, "size_bytes": 9, "parameters": 1, "metric": "m", "steps": 1,'
    record += ' "direction": "minimize", "seconds": 1}'
    row = "trial,role,state,size_bytes,score,steps,seconds,history,reason,plan\n"
    row += '0,search,complete,9,1.0,1,1.0,[],,"{""a"": {""weight_bits"": 4}}"\n'
    text = {"baseline.json": record, "outcomes.csv": row}[name]
    pieces = ["[" * 9999, "9" * 5000, "1e999", "NaN", "null", '"', "\x00", "[]", "{}", "true"]
    accepted = 0
    for _ in range(300):
        place = choice.randrange(len(text))
        cut = choice.choice([0, 1, 8])
        (tmp_path / name).write_text(text[:place] + choice.choice(pieces) + text[place + cut :])
        with suppress(UserError):
            study.baseline() if name == "baseline.json" else study.outcomes()
            accepted += 1
    assert accepted < 200


def test_a_plan_of_thousands_of_layers_is_read_back(tmp_path: Path) -> None:
    """Its column of the table is longer than the limit of the csv module."""
    from autoquant.plan import LayerChoice
    from autoquant.study.outcome import Outcome, to_csv

    plan = Plan.uniform([f"blocks.{i}.linear" for i in range(3000)], LayerChoice(4, 8))
    assert len(json.dumps(plan.to_dict())) > 131_072
    outcome = Outcome("0", "search", plan, 9, "complete", 1.0)
    (tmp_path / "outcomes.csv").write_text(to_csv([outcome], 10))
    assert Study(tmp_path).outcomes() == [outcome]
