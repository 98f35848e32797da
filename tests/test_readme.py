"""The README's Python examples run as written, but for sizes that a test can afford."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
SMALLER = {
    "stdlib(embedding=128, hidden=128)": (
        "stdlib(tokens=4000, vocabulary=400, embedding=32, hidden=32)"
    ),
    'budget="0.15x", trials=16': (
        'budget="0.5x", trials=2, references=(4,), '
        "baseline=aq.Training(steps=4), qat=aq.Training(steps=2), final=aq.Training(steps=2)"
    ),
}
OWN_SMALLER = {
    "data(0, 4000)": "data(0, 400)",
    "trials=12, baseline=aq.Training(epochs=8)": (
        "trials=2, references=(4,), baseline=aq.Training(steps=4), qat=aq.Training(steps=2), "
        "final=aq.Training(steps=2)"
    ),
}


def example(number: int, smaller: dict[str, str]) -> str:
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[number]
    for written, small in smaller.items():
        assert written in code
        code = code.replace(written, small)
    return code


@pytest.mark.parametrize(
    ("number", "smaller"), [(0, SMALLER), (1, OWN_SMALLER)], ids=["task", "own"]
)
def test_a_python_example_runs(number, smaller, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example(number, smaller), "README.md", "exec"), names)
    applied = names["applied"]
    assert applied.artifact.stat().st_size == applied.size_bytes
    assert "weight bits" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["search", "test", "bench"])
def test_make_targets_that_the_readme_names_are_there(target):
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert f"make {target}" in README.read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
