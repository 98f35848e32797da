"""YAML and JSON that anybody may have written: read within bounds, or refused in a few words."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from autoquant.errors import UserError
from autoquant.plan import Plan
from autoquant.reading import MAX_DEPTH, MAX_NODES, UnreadableError, read_json, read_yaml
from autoquant.study.folder import Study

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 8)
)
"""Nine to the power of eight values, in a few hundred bytes."""

REFUSED = {
    "expanding aliases": (LAUGHS, f"more than {MAX_NODES} values"),
    "alias of itself": ("a: &a [*a]", "a value that contains itself"),
    "tag": ("a: !!python/object/apply:os.system [ls]", "a tag, which is not allowed"),
    "own tag": ("a: !thing 3", "a tag, which is not allowed"),
    "deep lists": ("[" * 9999, f"values nested more than {MAX_DEPTH} deep"),
    "deep mappings": ("{a: " * 9999, f"values nested more than {MAX_DEPTH} deep"),
    "long number": ("a: " + "9" * 5000, "a number of more than 100 digits"),
    "sexagesimal": ("a: 1" + ":1" * 5000, "a number of more than 100 digits"),
    "large text": ("a" * 2_000_000, "more than 1000000 bytes"),
    "syntax": ("a: b: c", "a syntax error at line 1"),
    "no number": ("a: 0b_", "a number without digits"),
    "not a text": (b"\xff\xfe\xfd", "a syntax error"),
    "a list as a key": ("? [1]\n: 2", "a syntax error at line 1"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_yaml_that_is_refused(text: str | bytes, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableError) as raised:
        read_yaml(text)
    assert str(raised.value) == reason
    assert time.monotonic() - started < 30  # of a minute without a bound, or of hours


def test_yaml_that_is_plain() -> None:
    text = "a: &x [1, 1.5, true, null, yes]\nb: *x\nc: 2001-01-01\n<<: {d: '='}\n"
    values = [1, 1.5, True, None, True]
    assert read_yaml(text) == {"a": values, "b": values, "c": "2001-01-01", "<<": {"d": "="}}


@pytest.mark.parametrize("text", [LAUGHS, "[" * 9999], ids=["aliases", "depth"])
def test_files_of_a_study_are_read_within_bounds(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    for read in (lambda: Study(tmp_path).config(), lambda: Plan.read(tmp_path / "config.yaml")):
        with pytest.raises(UserError) as raised:
            read()
        assert len(str(raised.value)) < 300


def test_what_is_not_a_plan_is_not_shown_in_full() -> None:
    text = yaml.safe_dump({"layers": {"a": [["x" * 90] * 90] * 90}})
    with pytest.raises(UserError) as raised:
        Plan.from_yaml(text)
    assert len(str(raised.value)) < 300


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
