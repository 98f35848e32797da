"""What Hydra is told of the package."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hydra.core.config_store import ConfigStore

from autoquant.cli.schemas import register_tasks
from autoquant.settings import Search, Training


def wishes(hidden: int = 24) -> None:
    """A task of a plugin."""


def test_a_registered_task_has_its_arguments_and_the_settings_that_it_prefers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", deepcopy(store.repo))
    preferred = Search(budget="2x", references=(4,), qat=Training(steps=100))
    monkeypatch.setattr("autoquant.cli.schemas.TASKS", {"wishes": wishes})
    monkeypatch.setattr("autoquant.cli.schemas.PREFERRED", {"wishes": preferred})
    register_tasks()
    assert store.load("task/wishes.yaml").node == {
        "task": {"_target_": f"{__name__}.wishes", "hidden": 24},
        "budget": "2x",
        "references": [4],
        "qat": {"steps": 100},
    }
