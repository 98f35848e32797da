"""Old names of settings: taken with one notice, until the version that refuses them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import autoquant as aq
from autoquant.errors import UserError
from autoquant.settings import Search, Sweep, from_dict, renamed
from autoquant.settings.renamed import RENAMED, STORED, Renamed, old_arguments
from tests import toys

CLASSES = {"": Search, "sweep": Sweep}
"""Classes that take old names, by their sections."""


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process that has warned about nothing."""
    monkeypatch.setattr(renamed, "_WARNED", set())


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@pytest.mark.parametrize("entry", RENAMED, ids=lambda entry: entry.old)
def test_an_old_name_is_refused_when_its_version_comes(entry: Renamed) -> None:
    """At that version remove the entry from RENAMED; STORED keeps it, for old studies."""
    assert numbers(entry.since) <= numbers(aq.__version__) < numbers(entry.until), entry.old


@pytest.mark.parametrize("entry", [each for each in RENAMED if each.command is None])
def test_studies_have_every_old_name_of_a_setting(entry: Renamed) -> None:
    assert STORED[entry.old] == entry.new
    section, _, name = entry.old.rpartition(".")
    with pytest.warns(FutureWarning, match=re.escape(entry.notice)):  # its class takes it as well
        CLASSES[section](**{name: "scratch"})


def test_an_old_field_is_taken_and_told_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert Sweep(start="scratch") == Sweep(init_from="scratch")  # type: ignore[call-arg]
        assert Sweep(start="baseline").init_from == "baseline"  # type: ignore[call-arg]
    (warning,) = told
    assert warning.filename == __file__
    assert str(warning.message) == (
        "setting 'sweep.start' is now named 'sweep.init_from' (since version 0.1.0); version 0.2.0 "
        "will refuse 'sweep.start'"
    )


def test_a_setting_without_effect_is_left_out() -> None:
    with pytest.warns(FutureWarning, match="setting 'prune' has no effect any more"):
        settings = Search(prune=True, trials=3)  # type: ignore[call-arg]
    assert settings == Search(trials=3)
    assert settings.given == {"trials"}


def test_fields_count_as_given_by_their_present_names(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Renamed("tries", "trials", since="0.1.0", until="0.2.0")
    monkeypatch.setattr(renamed, "RENAMED", (entry,))
    with pytest.warns(FutureWarning):
        settings = Search(tries=3, seed=1)  # type: ignore[call-arg]
    assert settings.trials == 3
    assert settings.given == {"trials", "seed"}


def test_an_old_argument_is_taken(tmp_path: Path) -> None:
    task: Any = toys.language_task()
    with (
        pytest.warns(FutureWarning, match="setting 'start' is now named 'init_from'"),
        pytest.raises(UserError, match="study must be a folder"),
    ):
        aq.apply(tmp_path, task, start="scratch")  # type: ignore[call-arg]


def test_other_names_are_refused_as_ever() -> None:
    @old_arguments("apply")
    def command(*, init_from: str) -> str:
        return init_from

    assert command(init_from="scratch") == "scratch"
    with pytest.raises(TypeError, match="unexpected keyword argument 'begin'"):
        command(begin=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'start'"):
        Search(start="scratch")  # type: ignore[call-arg]


def test_files_of_studies_are_read_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_dict(Sweep, {"start": "scratch"}, "sweep.") == Sweep(init_from="scratch")
        assert from_dict(Search, {"prune": True, "trials": 3}) == Search(trials=3)
