"""Tasks by name: one decorated class or function, outside of the package too."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoquant as aq
from autoquant.errors import UserError
from autoquant.task import PREFERRED as REGISTERED
from autoquant.task import TASKS, Example, check_task, task, task_named
from autoquant.tasks.language import LanguageTask
from autoquant.tasks.supervised import SupervisedTask


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoquant.task.TASKS", dict(TASKS))
    monkeypatch.setattr("autoquant.task.PREFERRED", dict(REGISTERED))


def test_a_class_from_outside_is_a_task_by_name() -> None:
    @task("squares")
    class Squares:
        """Learn to square numbers."""

        name, metric, direction = "squares", "mse", "minimize"

        def __init__(self, hidden: int = 8) -> None:
            self.hidden = hidden

        def build_model(self):
            return nn.Sequential(nn.Linear(1, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))

        def steps_per_epoch(self):
            return 4

        def batches(self, seed, start=0):
            while True:
                yield torch.rand(16, 1)

        def loss(self, model, batch, carry):
            return nn.functional.mse_loss(model(batch), batch**2), None

        def score(self, model, split):
            values = torch.linspace(0, 1, 50)[:, None]
            return float(nn.functional.mse_loss(model(values), values**2))

        def example(self):
            return Example((torch.rand(16, 1),), 16)

    assert task_named("squares") is Squares
    squares = task_named("squares")(hidden=6)
    assert isinstance(squares, aq.Task)
    assert aq.profile(squares)["0"].parameters == 12


def test_a_function_that_builds_a_task_has_a_name_too() -> None:
    @task("small-squares")
    def build(**options):
        return options

    assert task_named("small-squares")(samples=3) == {"samples": 3}


class Complete(SupervisedTask):
    name, metric = "complete", "mse"
    direction: Any = "minimize"


PREFERRED = aq.Search(qat=aq.Training(lr=0.5))


def test_a_registered_class_carries_its_settings_unless_it_has_its_own() -> None:
    @task("plain", preferred=PREFERRED)
    class Plain:
        pass

    @task("own", preferred=PREFERRED)
    class Own:
        preferred = aq.Search(seed=3)

    assert task_named("plain") is Plain
    assert Plain().preferred is PREFERRED  # type: ignore[attr-defined]
    assert Own().preferred == aq.Search(seed=3)


def test_what_a_registered_function_builds_carries_its_settings() -> None:
    @dataclass(frozen=True)
    class Built:
        size: int
        preferred: aq.Search | None = None

    @task("built", preferred=PREFERRED)
    def build(size: int = 3, own: bool = False) -> Built:
        """Build it."""
        return Built(size, aq.Search(seed=3) if own else None)

    assert task_named("built") is build
    assert build().preferred is PREFERRED
    assert build(own=True).preferred == aq.Search(seed=3)
    assert [*inspect.signature(build).parameters] == ["size", "own"]
    assert (build.__doc__, build.__module__) == ("Build it.", __name__)


def test_a_supervised_task_that_is_registered_carries_them_too() -> None:
    @task("supervised", preferred=PREFERRED)
    class Mine(SupervisedTask):
        def __init__(self, **options: Any) -> None:
            data = (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
            super().__init__(lambda: nn.Linear(2, 2), data, data, data, **options)

    assert Mine().preferred is PREFERRED
    assert Mine(preferred=aq.Search(seed=3)).preferred == aq.Search(seed=3)


def test_a_name_that_is_not_registered_is_refused() -> None:
    TASKS.update(dict.fromkeys(("b", "a"), dict))
    with pytest.raises(UserError, match=r"task must be one that is registered \(.*\), got 'c'"):
        task_named("c")


def test_the_built_in_tasks_have_names() -> None:
    code = (
        "import sys; from autoquant.task import TASKS; print('torch' in sys.modules, *TASKS);"
        "import autoquant.tasks.ready; print(*sorted(TASKS))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["False", "digits ptb speech stdlib"]


def test_what_is_no_task_is_refused() -> None:
    wrap = ": wrap the model, as in aq.SupervisedTask(model, train=..., valid=..., test=...)"
    wrong: list[tuple[Any, str]] = [
        (nn.Linear(1, 1), f"a Linear{wrap}"),
        (nn.Linear, f"Linear{wrap}"),
        (None, "a NoneType"),
        (dict, "dict"),
        (LanguageTask, "LanguageTask"),
        (Complete, "Complete: make an instance, as in Complete(...)"),
    ]
    for value, got in wrong:
        with pytest.raises(UserError) as caught:
            check_task(value)
        assert str(caught.value) == f"the task must follow autoquant.Task, got {got}"


def test_a_model_in_place_of_a_task_is_refused_by_every_function(tmp_path: Path) -> None:
    net: Any = nn.Linear(1, 1)
    calls = (
        lambda: aq.search(net, study=tmp_path / "study"),
        lambda: aq.sweep(net, study=tmp_path / "study"),
        lambda: aq.profile(net),
        lambda: aq.apply("runs/x", net),
        lambda: aq.evaluate("runs/x/model.safetensors", net),
    )
    for call in calls:
        with pytest.raises(UserError, match=r"got a Linear: wrap the model, as in aq.Supervised"):
            call()
