"""The reference of settings, as it is written into the site."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
import settings_reference as reference

from autoquant.cli.command_table import COMMANDS
from autoquant.cli.help import setting_texts
from autoquant.settings import Search, Sweep
from tests.docs.examples import ROOT

ENTRY = re.compile(r"^`([\w.]+)`\{#([\w-]+)\}\n: (.+)$", re.MULTILINE)


def entries(text: str) -> dict[str, str]:
    """What a text says of each setting, by its anchor."""
    return {anchor: meaning for _, anchor, meaning in ENTRY.findall(text)}


def test_every_command_has_its_settings() -> None:
    text = reference.commands()
    for name, command in COMMANDS.items():
        section = text.split(f"### {name}\n")[1].split("\n### ")[0]
        assert command.summary in section
        assert [key for key, _, _ in ENTRY.findall(section)] == [*command.settings]
    assert "*Must be given.*" in entries(text)["setting-evaluate-artifact"]
    assert "*Default" not in entries(text)["setting-search-study"]  # its text says it


def test_every_setting_of_a_search_is_there_once_with_its_default() -> None:
    text = reference.search()
    named = [name for name, _, _ in ENTRY.findall(text)]
    assert sorted(named) == sorted(name for name, _, _ in setting_texts(Search))
    found = entries(text)
    assert found["setting-trials"].endswith(f"*Default:* `{Search().trials}`")
    assert found["setting-qat-lr"].endswith(f"*Default:* `{Search().qat.lr}`")
    assert found["setting-loss"].endswith("*Default: empty.*")
    assert "[`baseline.lr`](#setting-baseline-lr)" in found["setting-qat-lr"]
    assert "`final`" not in found["setting-baseline-lr"]


def test_every_setting_of_a_sweep_is_there() -> None:
    named = [name for name, _, _ in ENTRY.findall(reference.sweep())]
    assert named == [f"sweep.{each.name}" for each in fields(Sweep)]


def test_tasks_have_their_settings_and_what_they_prefer() -> None:
    text = reference.task_settings()
    assert reference.tasks() == ["digits", "ptb", "speech", "stdlib"]
    assert entries(text)["setting-ptb-task-data-dir"].endswith("*Must be given.*")
    assert entries(text)["setting-stdlib-task-hidden"] == (
        "units of each recurrent layer. *Default:* `128`"
    )
    stdlib = text.split("### task=stdlib\n")[1]
    assert "| [`budget`](#setting-budget) | `0.15x` | `0.075x` |" in stdlib
    assert "| [`seed`]" not in stdlib


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2 * <x> of task_a", r"2 \* \<x> of `task_a`"),
        ("``*c*`` and task_a", r"`*c*` and task\_a"),  # what has marks is left to them
        (
            "see autoquant.samplers, or --help task=ptb.",
            "see `autoquant.samplers`, or `--help` `task=ptb`.",
        ),
        ("such as 0.1x, w4 or 2.5MB", "such as 0.1x, w4 or 2.5MB"),
    ],
)
def test_signs_of_markdown_stand_for_themselves(text: str, shown: str) -> None:
    lines = reference._entry("a.b", text, "1", "a.b")
    assert lines[0] == "`a.b`{#setting-a-b}"
    assert lines[1] == f": {shown.removesuffix('.')}. *Default:* `1`"


def test_a_page_names_what_is_written() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert reference.MARK.findall(page) == [*reference.GENERATED]
