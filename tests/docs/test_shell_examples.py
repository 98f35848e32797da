"""Every command of autoquant on a page has a name and settings that exist, with values of theirs.

Nothing is run or composed: names are looked up in the table of commands, in ``Search`` and in the
files of the tasks, and values are read by Hydra's grammar and checked by the settings themselves.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from autoquant.cli.command_table import COMMANDS, SEARCH_NAMES, Command
from autoquant.cli.overrides import to_overrides
from autoquant.cli.task_texts import task_texts
from autoquant.errors import UserError
from autoquant.settings import Search, from_dict
from tests.docs.examples import PAGES, ROOT, blocks

CONF = Path(str(files("autoquant.conf")))
OTHERS = ("CONTRIBUTING.md", "ARCHITECTURE.md", "benchmarks/README.md", "studies/README.md")
STUDIES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("studies/*/README.md"))
EVERY = (*PAGES, *OTHERS, *STUDIES)
COMMAND = re.compile(r"^(?:\S+=\S+ )*(?:\S*/|python -m )?autoquant (?P<arguments>[a-z].*)$")
INLINE = re.compile(r"`autoquant ([a-z][^`]*)`")
OWN_TASKS = {"mine", "absolutes"}
"""Tasks that pages invent."""
OPTIONS = {"-m", "--help", "--config-dir", "--cfg", "--json"}
SHELLS = {"bash", "zsh", "fish"}


def lines_of(page: str) -> Iterator[str]:
    """The commands of autoquant on a page, without its name."""
    for block in blocks(page, "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            if found := COMMAND.match(line):
                yield found["arguments"]
    yield from INLINE.findall((ROOT / page).read_text(encoding="utf-8").replace("\n", " "))


def parts_of(line: str) -> list[str]:
    """The words of a command, without a remark and without placeholders such as NAME."""
    words = shlex.split(line, comments=True)
    return [word for word in words if not word.isupper() and word not in ("...", "KEY=VALUE")]


def check(line: str) -> None:
    """Fail where a command, a setting or its value does not exist.

    Args:
        line: a command, without "autoquant".
    """
    name, *arguments = parts_of(line)
    if name == "completion":
        assert set(arguments[:1]) <= SHELLS
        return
    command = COMMANDS[name]
    options = [each for each in arguments if each.startswith("-")]
    assert set(options) <= OPTIONS, options
    settings = [each for each in arguments if "=" in each and not each.endswith("=NAME")]
    overrides = to_overrides(settings, stored_task="artifact" in command.settings)
    given: dict[str, Any] = {}
    for override in map(OverridesParser.create().parse_override, overrides):
        values = (
            [*override.sweep_iterator()] if override.is_sweep_override() else [override.value()]
        )
        assert len(values) == 1 or "-m" in options
        given[override.key_or_group] = override.value() if len(values) == 1 else values[0]
    task = str(given.get("task", "stdlib" if "task" in command.settings else ""))
    assert task in OWN_TASKS or not task or (CONF / f"task/{task}.yaml").is_file()
    check_names(command, given, task)
    if command.takes_search:
        from_dict(Search, nested({k: v for k, v in given.items() if is_of_search(k)}))


def check_names(command: Command, given: dict[str, Any], task: str) -> None:
    """Fail where a command has no such setting.

    Args:
        command: that is typed.
        given: values by the names of settings.
        task: whose settings there are.
    """
    for key in given:
        section, _, field = key.partition(".")
        if section == "task" and field:
            known = task in OWN_TASKS or field in task_texts(task, [CONF])
            assert known or task_of(field), key
        elif key == "quantizer":
            assert command.takes_search
            assert (CONF / f"quantizer/{given[key]}.yaml").is_file()
        elif section in command.sections:
            assert field in command.sections[section].__dataclass_fields__, key
        else:
            assert key in command.settings or (command.takes_search and is_of_search(key)), key


def task_of(field: str) -> bool:
    """Whether some ready task has the setting: a stored study may be of any."""
    return any(field in task_texts(path.stem, [CONF]) for path in CONF.glob("task/*.yaml"))


def is_of_search(key: str) -> bool:
    """Whether a name is one of the settings of ``Search``; a whole quantizer is none."""
    return key.partition(".")[0] in SEARCH_NAMES and key not in ("quantizer", "task")


def nested(given: dict[str, Any]) -> dict[str, Any]:
    """Values in sections, by names with dots."""
    tree: dict[str, Any] = {}
    for key, value in given.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return tree


@pytest.mark.parametrize("page", [page for page in EVERY if any(lines_of(page))])
def test_the_commands_of_a_page(page: str) -> None:
    for line in lines_of(page):
        try:
            check(line)
        except Exception as error:
            raise AssertionError(f"autoquant {line}: {error!r}") from error


@pytest.mark.parametrize(
    "line",
    [
        "serach budget=0.1x",
        "search buget=0.1x",
        "search budget=0.1y",
        "search qat.lrr=1",
        "search task=digit",
        "search task=digits task.hiden=3",
        "sweep sweep.widths=[1.0]",
        "search rules.decoder.bits=8",
        "apply study=DIR rules.decoder.weight_bits=8",
        "search budget=0.1x --verbose",
    ],
)
def test_a_mistake_on_a_page_is_found(line: str) -> None:
    with pytest.raises((AssertionError, KeyError, UserError)):
        check(line)


def test_commands_are_found() -> None:
    named = {parts_of(line)[0] for page in PAGES for line in lines_of(page)}
    assert named == {*COMMANDS, "completion"}


def test_what_make_and_pip_are_asked_for_is_there() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M)) <= {*targets}, page
        extras = re.findall(r"(?:autoquant-torch|'\.)\[(\w+)\]", text)
        assert set(extras) <= set(project["optional-dependencies"]), page
