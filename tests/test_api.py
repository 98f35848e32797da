"""The names of the package, and the chain of calls of a Python user."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import autoquant as aq
from autoquant.artifact.packed_file import read
from autoquant.study.selection import select
from tests.toys import language_task

SHORT = aq.Training(steps=2)


@pytest.mark.parametrize("name", aq.__all__)
def test_every_name_resolves(name):
    assert getattr(aq, name).__name__ == name
    assert name in dir(aq)


def test_every_name_is_there_for_type_checkers_and_for_use():
    assert sorted(aq._MODULES) == aq.__all__
    assert aq.__version__.count(".") == 2


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'autoquant' has no attribute 'serach'"):
        aq.serach  # noqa: B018
    assert not hasattr(aq, "cli_")


def test_importing_is_quick():
    code = "import sys, autoquant; print('torch' in sys.modules, autoquant.Plan.__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "Plan"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_profile_search_apply_load(tmp_path, direction):
    task = language_task(tokens=600)
    if direction == "maximize":
        task.direction = direction
        task.score = lambda model, split: -type(task).score(task, model, split)
    assert aq.profile(task, aq.Widening(max_share=1, max_growth=9)).widenable[0] == "rnn.l0"
    settings = aq.Search(
        "0.8x", trials=2, device="cpu", references=(2,), baseline=SHORT, qat=SHORT, final=SHORT
    )
    found = aq.search(task, settings, study=tmp_path / "study", progress=False)
    assert found.best is not None
    assert found.best == select(found.outcomes, found.budget_bytes, direction).chosen
    assert found.best.size_bytes <= found.budget_bytes
    assert found.best.plan == found.study.plan() == aq.Study.open(tmp_path / "study").plan()
    applied = aq.apply(tmp_path / "study", task, progress=False)
    assert applied.plan == found.best.plan
    assert applied.size_bytes == found.best.size_bytes == applied.artifact.stat().st_size
    assert read(applied.artifact)[0].plan == applied.plan
    model = aq.load(applied.artifact, task.build_model())
    with torch.no_grad():
        assert task.score(model, "test") == applied.test == aq.evaluate(applied.artifact, task)
