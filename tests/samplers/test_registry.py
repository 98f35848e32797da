"""Samplers by name: the built-in ones, and those that are added from outside the package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from autoquant import settings
from autoquant.errors import UserError
from autoquant.samplers import new_sampler, registry, sampler
from autoquant.samplers.projected_sampler import ProjectedSampler
from autoquant.settings import Search
from autoquant.space.projection import Projection
from autoquant.space.search_space import Point
from tests.samplers.spaces import SPACE, size_of
from tests.toys import limit

OUTSIDE = """
import optuna

def my_sampler(seed):
    return optuna.samplers.NSGAIISampler(seed=seed)

def not_a_sampler(seed):
    return "mine"
"""


def proposed(name: str, count: int, seed: int = 0) -> list[Point]:
    """The points that a sampler proposes within 150 units, one after the other."""
    projection = Projection(SPACE, limit(size_of, 150))
    chosen = ProjectedSampler(name, projection, seed)
    study = optuna.create_study(sampler=chosen)
    for number in range(count):
        study.tell(study.ask(fixed_distributions=dict(chosen.ranges)), float(number))
    return [tuple(trial.params[d.name] for d in SPACE.dimensions) for trial in study.trials]


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
    """Beside "program", which needs more than a seed."""
    assert ["program", *registry._SAMPLERS] == settings.SAMPLERS


def test_a_sampler_from_outside_proposes() -> None:
    seeds: list[int] = []

    @sampler("mine")
    def mine(seed: int) -> BaseSampler:
        seeds.append(seed)
        return NSGAIISampler(seed=seed)

    assert Search(sampler="mine").sampler == "mine"
    points = proposed("mine", 5, seed=3)
    assert len(set(points)) == 5
    assert all(size_of(SPACE.plan(point)) <= 150 for point in points)
    assert len(set(seeds)) >= 5


def test_a_sampler_by_its_import_path_proposes(outside: str) -> None:
    path = f"{outside}.my_sampler"
    assert Search(sampler=path).sampler == path
    points = proposed(path, 5)
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
    names = "program, tpe, gp, nsga2, random"
    line = f"^sampler must be one of {names}, or an import path, got 'grid'$"
    with pytest.raises(UserError, match=line):
        Search(sampler="grid")
