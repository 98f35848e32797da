"""The settings in use: the user's, then the task's, then the defaults."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from autoquant.errors import UserError
from autoquant.settings import Scheme, Search, Settings, Training, Widening, settings_for
from autoquant.task import PrefersSettings

PREFERRED = Search(
    budget="0.5x",
    seed=3,
    qat=Training(steps=70, lr=0.5, distill=1.0),
    widening=Widening(max_growth=0.7),
    rules={"a": {"weight_bits": 8}},
)
TASK = SimpleNamespace(preferred=PREFERRED)


def all_given(settings: Settings) -> bool:
    names = {each.name for each in fields(settings)}  # type: ignore[arg-type]
    sections = [getattr(settings, name) for name in names]
    return settings.given == names and all(
        all_given(section) for section in sections if isinstance(section, Settings)
    )


@pytest.mark.parametrize("task", [object(), SimpleNamespace(preferred=None)], ids=["none", "None"])
def test_without_preferences_the_defaults_count(task: object) -> None:
    assert settings_for(task) == settings_for(task, Search()) == Search()
    assert settings_for(task, Search(qat=Training(lr=1.0))).qat == Search().qat.changed(lr=1.0)


def test_a_task_fills_what_was_not_given() -> None:
    settings = settings_for(TASK)
    assert (settings.budget, settings.seed, settings.trials) == ("0.5x", 3, Search().trials)
    assert settings.qat == Search().qat.changed(steps=70, lr=0.5, distill=1.0)
    assert settings.widening == Widening(max_growth=0.7)
    assert settings.baseline == Search().baseline
    assert settings.rules == {"a": {"weight_bits": (8,)}}


def test_what_was_given_counts_in_sections_too() -> None:
    given = Search(budget="0.2x", qat=Training(steps=50), widening=Widening(max_share=0.3))
    settings = settings_for(TASK, given)
    assert settings.budget == "0.2x"
    assert settings.qat == Search().qat.changed(steps=50, lr=0.5, distill=1.0)
    assert settings.widening == Widening(max_share=0.3, max_growth=0.7)


def test_a_value_that_was_given_counts_though_it_is_the_default() -> None:
    given = Search(seed=0, qat=Training(lr=1e-3, distill=0.0), rules={})
    settings = settings_for(TASK, given)
    assert (settings.seed, settings.rules) == (0, {})
    assert (settings.qat.lr, settings.qat.distill, settings.qat.steps) == (1e-3, 0.0, 70)


@pytest.mark.parametrize("task", [TASK, object()], ids=["preferred", "default"])
def test_epochs_replace_steps_that_were_not_given(task: object) -> None:
    assert settings_for(task, Search(qat=Training(epochs=2))).qat.steps is None
    assert settings_for(task, Search(qat=Training(epochs=2, steps=9))).qat.steps == 9
    task = SimpleNamespace(preferred=Search(qat=Training(epochs=2)))
    assert settings_for(task).qat.steps is None
    assert settings_for(task, Search(qat=Training(steps=9))).qat.steps == 9


@pytest.mark.parametrize("settings", [None, Search(trials=3, qat=Training(lr=0.1))])
def test_a_second_call_changes_nothing(settings: Search | None) -> None:
    full = settings_for(TASK, settings)
    assert all_given(full)
    assert settings_for(TASK, full) == full
    assert settings_for(SimpleNamespace(preferred=Search(seed=8)), full) == full


def test_a_preferred_that_is_no_search_is_refused() -> None:
    line = "the task's preferred must be an autoquant.Search or None, got {'seed': 3}"
    with pytest.raises(UserError, match=line):
        settings_for(SimpleNamespace(preferred={"seed": 3}))


def test_values_that_do_not_go_together_are_refused() -> None:
    task: Any = SimpleNamespace(preferred=Search(quantizer=Scheme.bit_rnn()))
    with pytest.raises(UserError, match=r"=mean needs quantizer.granularity=tensor"):
        settings_for(task, Search(quantizer=Scheme(granularity="channel")))
    assert settings_for(task, Search(quantizer=Scheme(norms="half"))).quantizer.scale == "mean"


def test_a_task_can_be_asked_whether_it_prefers_settings() -> None:
    assert isinstance(TASK, PrefersSettings)
    assert not isinstance(object(), PrefersSettings)
