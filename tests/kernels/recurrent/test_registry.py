"""Engines by name: one that is added from outside the package, and names that are none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant import settings
from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.kernels import recur
from autoquant.kernels.recurrent import registry
from autoquant.kernels.recurrent.registry import engine
from autoquant.settings import Search
from tests.kernels.recurrent.cases import Case, all_of, assert_same, case, looping

OWN = """
from autoquant.kernels import engine
from autoquant.kernels.recurrent.torch_loop import TorchLoop

jobs = []

class Counting(TorchLoop):
    def forward(self, job, operands):
        jobs.append(job)
        return super().forward(job, operands)

@engine("counting", before="native")
def counting(job, operands):
    return Counting() if job.cell.kind == "lstm" else None
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a test registers is gone after it."""
    lists = registry.ENGINES, settings.KERNELS
    before = [[*each] for each in lists]
    yield
    for each, values in zip(lists, before, strict=True):
        each[:] = values  # type: ignore[index]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody's module with an engine, on the import path and not yet imported."""
    (tmp_path / "somebodys_engines.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "somebodys_engines", raising=False)
    registry._imported_factory.cache_clear()
    return "somebodys_engines"


def gradients(kernel: str, given: Case) -> list[torch.Tensor]:
    with computing(Compute(kernel)):
        return all_of(recur, given)


@pytest.mark.parametrize("kernel", ["auto", "counting", "somebodys_engines.counting"])
def test_an_engine_from_outside_is_used(module: str, kernel: str) -> None:
    own: Any = import_module(module)
    given = case("lstm", (3, 3, 1), "signed")
    assert_same(gradients(kernel, given), all_of(looping, given))
    (job,) = own.jobs
    assert job.sizes == (3, 3, 1)


def test_a_path_imports_the_module(module: str) -> None:
    assert "counting" not in settings.KERNELS
    path = f"{module}.counting"
    assert Search(kernel=path).kernel == path
    gradients(path, case("lstm", rule="signed"))
    assert len(sys.modules[module].jobs) == 1  # type: ignore[attr-defined]
    assert Search(kernel="counting").kernel == "counting"  # known from now on


def test_by_name_it_takes_a_hidden_state_that_is_not_quantized_too(module: str) -> None:
    own: Any = import_module(module)
    gradients("counting", case("lstm"))
    assert len(own.jobs) == 1
    gradients("auto", case("lstm"))  # by torch's fused kernel
    assert len(own.jobs) == 1


def test_where_it_cannot_auto_tries_the_next_and_its_name_is_refused(module: str) -> None:
    own: Any = import_module(module)
    given = case("gru", rule="signed")
    assert_same(gradients("auto", given), all_of(looping, given))
    with pytest.raises(UserError, match=r"^kernel must be 'auto' or .*, got 'counting'$"):
        gradients("counting", given)
    assert own.jobs == []


def test_engines_are_tried_in_order() -> None:
    names = ["native", "torch", "torch"]
    assert [each.name for each in registry.ENGINES] == names
    asked: list[str] = []
    for name, before in (("last", None), ("second", "torch"), ("first", "native")):
        engine(name, before=before)(lambda *_, name=name: asked.append(name))
    order = ["first", "native", "second", "torch", "torch", "last"]
    assert [each.name for each in registry.ENGINES] == order
    for factory in registry.factories("auto")[::5]:
        factory(None, None)  # type: ignore[arg-type]
    assert asked == ["first", "last"]


@pytest.mark.parametrize("build", [Compute, Search])
def test_a_name_that_is_none(build: Any) -> None:
    engine("mine")(lambda *_: None)
    words = "kernel must be one of auto, .*, mine, or an import path, got 'yours'"
    with pytest.raises(UserError, match=f"^{words}$"):
        build(kernel="yours")


def test_the_names_of_settings() -> None:
    with pytest.raises(UserError) as caught:
        Search(kernel="fast")
    words = "kernel must be one of auto, native, torch, reference, or an import path, got 'fast'"
    assert str(caught.value) == words


@pytest.mark.parametrize("path", ["nowhere.engine", "torch.pi", "json.engine"])
def test_a_path_that_names_no_engine(path: str) -> None:
    with pytest.raises(
        UserError, match=rf"^kernel must be an engine or its import path, got '{path}"
    ):
        gradients(path, case("lstm", rule="signed"))


def test_an_unknown_name_to_be_tried_before() -> None:
    with pytest.raises(UserError, match=r"^before must be an engine \(native, torch\), got 'c'$"):
        engine("mine", before="c")(lambda *_: None)
