"""A place to type commands in, and the study that most of them are about."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from autoquant.figures.page import Page
from autoquant.figures.study_data import read_study_data
from autoquant.figures.sweep_data import read_sweep_data
from autoquant.study.folder import Study
from tests.cli.typed import RULES, TINY, Ran, contents, run


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder beside a little source code to learn from."""
    parent = tmp_path_factory.mktemp("cli")
    source, choice = parent / "source", random.Random(0).choice
    source.mkdir()
    for number in range(12):
        lines = [
            f"x{choice('abcdef')} = y{choice('abcdef')} + z{choice('abcdef')}" for _ in range(99)
        ]
        (source / f"m{number:02d}.py").write_text("\n".join(lines))
    for name, text in {"empty": "", "short": "one line\n"}.items():
        (parent / name).mkdir()
        for split in ("train", "valid", "test"):
            (parent / name / f"ptb.{split}.txt").write_text(text)
    folder = parent / "here"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def searched(place) -> Ran:
    return run(place, "search", *TINY, "study=done")


@pytest.fixture(scope="session")
def applied(place, searched) -> Ran:
    return run(place, "apply", "study=done")


@pytest.fixture(scope="session")
def packed(place, applied) -> Path:
    (file,) = place.glob("done/applied/plan-*/model.safetensors")
    return file


@pytest.fixture(autouse=True)
def quick_figures(request, monkeypatch) -> None:
    """Figures take seconds to draw: tests without the marker ``draws`` get an empty one."""
    if "draws" not in request.keywords:
        monkeypatch.setattr("autoquant.figures.study_figures.figures_of", _empty_figure)


def _empty_figure(study: Study, page: Page) -> dict[str, Figure]:
    (read_sweep_data if study.runs_file.is_file() else read_study_data)(study)
    return {"pareto": Figure(figsize=(1, 1))}


@pytest.fixture
def unchanged(place) -> Iterator[None]:
    before = contents(place)
    yield
    after = contents(place)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == []


@pytest.fixture(scope="session")
def ruled(place) -> Ran:
    logged = f"tensorboard={find_spec('tensorboard') is not None}"
    return run(place, "search", *TINY, "study=ruled", "budget=0.6x", logged, *RULES)
