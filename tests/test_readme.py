"""The README's Python examples run as written, but for sizes that a test can afford."""

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
SHORT = "qat=aq.Training(steps=2), final=aq.Training(steps=2)"
OWN = {
    "walks(4000)": "walks(400)",
    "num_workers=2": "num_workers=0",
    "range(8)": "range(1)",
    'budget="0.2x", trials=8': f'budget="0.2x", trials=1, references=(4,), {SHORT}',
}
READY = {
    "stdlib()": "stdlib(tokens=4000, vocabulary=400, embedding=32, hidden=32)",
    "trials=16": 'budget="0.5x", trials=1, references=(4,), baseline=aq.Training(steps=4), '
    + SHORT,
}


def example(number: int, smaller: dict[str, str]) -> str:
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[number]
    for written, small in smaller.items():
        assert written in code
        code = code.replace(written, small)
    return code


def run(number: int, names: dict[str, Any], smaller: dict[str, str] | None = None) -> None:
    exec(compile(example(number, smaller or {}), "README.md", "exec"), names)


def test_the_examples_of_a_model_of_the_user_s(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    run(0, names, OWN)
    assert names["applied"].size_bytes == names["applied"].artifact.stat().st_size
    assert "weight bits" in capsys.readouterr().out
    assert names["found"].baseline.steps == 0
    run(2, names)
    assert names["test_accuracy"] == names["applied"].test
    run(1, names)
    assert names["task"].score(names["net"].eval(), "valid") == 1.0


def test_the_example_of_a_ready_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    run(3, names, READY)
    assert names["applied"].size_bytes == names["applied"].artifact.stat().st_size
    assert "weight bits" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["search", "test", "bench"])
def test_make_targets_that_the_readme_names_are_there(target):
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert f"make {target}" in README.read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
