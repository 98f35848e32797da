from dataclasses import fields, is_dataclass

import pytest

from autoquant.cli import help
from autoquant.cli.command_table import COMMANDS
from autoquant.cli.defaults import defaults_for
from autoquant.commands.sweep import SETTINGS_WITHOUT_EFFECT
from autoquant.settings import (
    Cluster,
    Limits,
    Rounds,
    Scheme,
    Search,
    Space,
    Sweep,
    Training,
    Widening,
)

SECTIONS = {
    "cluster": Cluster,
    "baseline": Training,
    "qat": Training,
    "final": Training,
    "quantizer": Scheme,
    "limits": Limits,
    "widening": Widening,
    "space": Space,
    "rounds": Rounds,
}


def test_the_overview_lists_every_command_with_its_summary():
    lines = help.overview_answer().text.splitlines()
    for name, command in COMMANDS.items():
        assert f"  {name:<10} {command.summary}" in lines


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_page_names_the_command_and_its_own_settings(command):
    text = help.page(command)
    assert f"autoquant {command} " in text
    assert all(f"\n  {name} " in text for name in COMMANDS[command].settings)
    assert max(map(len, text.splitlines())) <= help.WIDTH


def test_the_search_page_lists_every_setting_once():
    lines = help.page("search").splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    own = [*COMMANDS["search"].settings, *defaults_for("search", []).task_settings]
    plain = [f.name for f in fields(Search) if not is_dataclass(f.default)]
    nested = [f"{name}.{f.name}" for name, kind in SECTIONS.items() for f in fields(kind)]
    assert sorted(named) == sorted(own + plain + nested)


def test_the_sweep_page_lists_what_a_sweep_uses():
    lines = help.page("sweep").splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert {f"sweep.{field.name}" for field in fields(Sweep)} <= set(named)
    assert len(named) == len(set(named))
    listed = set(COMMANDS["sweep"].listed)
    assert {field.name for field in fields(Search)} - SETTINGS_WITHOUT_EFFECT == listed
    assert not SETTINGS_WITHOUT_EFFECT & {name.partition(".")[0] for name in named}


def test_defaults_are_those_of_the_section_not_of_the_class():
    texts = {name: default for name, default, _ in help.setting_texts(Search)}
    assert texts["qat.steps"] == str(Search().qat.steps)
    assert texts["baseline.steps"] == "null"
    assert texts["rounds.full"] == "true"
    assert texts["references"] == "[8,4,3,2]"


def test_every_setting_says_what_it_means():
    for settings in (Search, Sweep):
        assert all(text.strip() for _, _, text in help.setting_texts(settings))
