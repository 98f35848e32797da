"""YAML that anybody may have written: read within bounds, or refused in a few words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from autoquant.errors import UserError
from autoquant.plan import Plan
from autoquant.reading import UnreadableError
from autoquant.study.folder import Study
from autoquant.yaml_text import MAX_DEPTH, MAX_NODES, read_yaml

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
