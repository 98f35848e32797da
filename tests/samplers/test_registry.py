"""Samplers by name: the built-in ones, and those that are added from outside the package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from autoquant import settings
from autoquant.errors import UserError
from autoquant.samplers import new_sampler, registry, sampler
from autoquant.settings import Search
from tests.samplers.test_proposer import SPACE, fitting, proposer_of, run, size_of

OUTSIDE = """
import optuna

def my_sampler(seed):
    return optuna.samplers.NSGAIISampler(seed=seed)

def not_a_sampler(seed):
    return "mine"
"""


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry, as it was."""
    monkeypatch.setattr(registry, "_SAMPLERS", dict(registry._SAMPLERS))
    names = [*settings.SAMPLERS]
    yield
    settings.SAMPLERS[:] = names


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Somebody's module, on the import path."""
    (tmp_path / "somebodys_samplers.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "somebodys_samplers"
    sys.modules.pop("somebodys_samplers", None)


@pytest.mark.parametrize(("name", "kind"), [("tpe", TPESampler), ("random", RandomSampler)])
def test_built_in_samplers(name: str, kind: type[BaseSampler]) -> None:
    assert type(new_sampler(name, 0)) is kind
    assert new_sampler(name, 0) is not new_sampler(name, 0)


def test_the_settings_know_the_built_in_ones() -> None:
    assert list(registry._SAMPLERS) == settings.SAMPLERS == ["tpe", "gp", "random"]


def test_a_sampler_from_outside_proposes() -> None:
    seeds: list[int] = []

    @sampler("mine")
    def mine(seed: int) -> BaseSampler:
        seeds.append(seed)
        return NSGAIISampler(seed=seed)

    assert Search(sampler="mine").sampler == "mine"
    proposer = replace(proposer_of("mine"), seed=3)
    points = run(proposer, 5)
    assert len(set(points)) == 5
    assert all(size_of(SPACE.plan(point)) <= 150 for point in points)
    assert seeds  # it was asked after the initial points
    assert set(points) <= fitting(proposer)


def test_a_sampler_by_its_import_path_proposes(outside: str) -> None:
    path = f"{outside}.my_sampler"
    assert Search(sampler=path).sampler == path
    points = run(proposer_of(path), 5)
    assert len(set(points)) == 5
    assert type(new_sampler(path, 0)) is NSGAIISampler


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("nowhere.sampler", "must be a sampler or its import path, got 'nowhere.sampler'"),
        ("json.decoder", "must be a sampler or its import path, got 'json.decoder'"),
        ("somebodys_samplers.no", "must be a sampler or its import path, got 'somebodys_sampl"),
        ("somebodys_samplers.not_a_sampler", "must make an Optuna sampler of a seed, got a str"),
    ],
)
def test_an_unknown_sampler_is_refused(path: str, line: str, outside: str) -> None:
    with pytest.raises(UserError, match=line) as raised:
        new_sampler(path, 0)
    assert "\n" not in str(raised.value)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^sampler must be one of tpe, gp, random, or an import path, got 'grid'$"
    ):
        Search(sampler="grid")
