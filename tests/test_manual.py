from dataclasses import fields, is_dataclass

import pytest

from autoquant import cli, manual
from autoquant.commands.sweep import UNUSED
from autoquant.settings import Scheme, Search, Space, Sweep, Training, Widening

SECTIONS = {
    "baseline": Training,
    "qat": Training,
    "final": Training,
    "quantizer": Scheme,
    "widening": Widening,
    "space": Space,
}


def test_every_command_has_a_page_and_a_summary():
    assert set(manual.SUMMARIES) == set(manual.OWN_SETTINGS) == set(cli.COMMANDS)


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_a_page_names_the_command_and_its_own_settings(command):
    text = manual.page(command)
    assert f"autoquant {command} " in text
    assert all(f"\n  {name} " in text for name in manual.OWN_SETTINGS[command])
    assert max(map(len, text.splitlines())) <= manual.WIDTH


def test_the_search_page_lists_every_setting_once():
    lines = manual.page("search").splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    own = list(manual.OWN_SETTINGS["search"])
    plain = [f.name for f in fields(Search) if not is_dataclass(f.default)]
    nested = [f"{name}.{f.name}" for name, kind in SECTIONS.items() for f in fields(kind)]
    assert sorted(named) == sorted(own + plain + nested)


def test_the_sweep_page_lists_what_a_sweep_uses():
    lines = manual.page("sweep").splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert {f"sweep.{field.name}" for field in fields(Sweep)} <= set(named)
    assert len(named) == len(set(named))
    assert {field.name for field in fields(Search)} - UNUSED == set(manual.OF_SWEEPS)
    assert not UNUSED & {name.partition(".")[0] for name in named}


def test_defaults_are_those_of_the_section_not_of_the_class():
    texts = {name: default for name, default, _ in manual.setting_texts(Search)}
    assert texts["qat.steps"] == str(Search().qat.steps)
    assert texts["baseline.steps"] == "null"
    assert texts["prune"] == "true"
    assert texts["references"] == "[8,4,3,2]"


def test_every_setting_says_what_it_means():
    for settings in (Search, Sweep):
        assert all(text.strip() for _, _, text in manual.setting_texts(settings))
