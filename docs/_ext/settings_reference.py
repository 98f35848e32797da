"""The reference of commands and settings, from the code: no default is written by hand.

A page says ``<!-- generated: commands -->``, or another name of GENERATED. Texts and defaults are
those of ``--help``: the table of commands, and the dataclasses of ``autoquant.settings`` with their
docstrings. Settings of tasks come from conf/ and its comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any

from sphinx.application import Sphinx

from autoquant.cli.command_table import COMMANDS, REQUIRED, Command, Setting
from autoquant.cli.defaults import Defaults, defaults_for
from autoquant.cli.help import in_yaml, setting_texts
from autoquant.settings import Search, Sweep

SAID = "said"
"""In place of a default that the text of a setting names."""
CODE = re.compile(r"(?<![\w`.])(--[\w-]+|[\w.]*\w=[^\s,;()]+|[A-Za-z]\w*(?:[._]\w+)+(?:\(\))?)")
"""In a text of the help, which has no marks: an option, a setting with a value, a name."""
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def tasks() -> list[str]:
    """Names of the ready tasks."""
    folder = files("autoquant.conf") / "task"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir())


def anchor(name: str) -> str:
    """The anchor of a setting on the page.

    Args:
        name: of the setting, with its section.
    """
    return f"setting-{name.replace('.', '-').replace('_', '-')}"


def commands() -> str:
    """Every command: what it does, and its own settings."""
    return "\n".join(_command(name, command) for name, command in COMMANDS.items())


def _command(name: str, command: Command) -> str:
    """The section of a command.

    Args:
        name: of the command.
        command: its entry in the table of commands.
    """
    lines = [f"### {name}", "", command.summary, "", "```text"]
    lines += [f"autoquant {name} [setting=value ...]", "```", ""]
    for key, setting in command.settings.items():
        lines += _entry(key, setting.text, _own_default(setting), f"{name}.{key}")
    for section, settings in command.sections.items():
        link = f"[{section}](#the-section-{section})"
        lines += [f"Further settings: {link}, as in `{section}.{_first(settings)}=...`.", ""]
    if command.listed == tuple(Search.__dataclass_fields__):
        lines += ["Further settings: all of those [of a search](#settings-of-a-search).", ""]
    elif command.listed:
        listed = ", ".join(f"`{each}`" for each in command.listed)
        lines += [f"Of the [settings of a search](#settings-of-a-search): {listed}.", ""]
    return "\n".join(lines)


def _own_default(setting: Setting) -> str:
    """The default of a command's own setting.

    Args:
        setting: of the command.
    """
    return REQUIRED if setting.default == REQUIRED and "(default" not in setting.text else SAID


def _first(settings: type) -> str:
    """The first field of a class of settings."""
    return fields(settings)[0].name


def search() -> str:
    """The settings of a search, by sections."""
    sections = {each.name: each.default for each in fields(Search) if is_dataclass(each.default)}
    lines = [*_entries(each for each in setting_texts(Search) if "." not in each[0])]
    for section, default in sections.items():
        lines += _section(section, type(default), setting_texts(Search))
    return "\n".join(lines)


def sweep() -> str:
    """The section of a sweep."""
    return "\n".join(_section("sweep", Sweep, setting_texts(Sweep, "sweep.")))


def _section(name: str, settings: type, texts: Iterable[tuple[str, str, str]]) -> list[str]:
    """The lines of a section of settings.

    Args:
        name: of the section.
        settings: its class.
        texts: name, default and meaning of settings, among others of this section.
    """
    summary = (settings.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    lines = [f"### The section {name}", "", f"{summary} In Python: `aq.{settings.__name__}`.", ""]
    return [*lines, *_entries(each for each in texts if each[0].startswith(f"{name}."))]


def task_settings() -> str:
    """The settings of each ready task, and the values that it prefers."""
    plain = {name: default for name, default, _ in setting_texts(Search)}
    texts = (_task(name, defaults_for("search", [f"task={name}"]), plain) for name in tasks())
    return "\n".join(texts)


def _task(name: str, defaults: Defaults, plain: Mapping[str, str]) -> str:
    """The section of a ready task.

    Args:
        name: of the task.
        defaults: that are in use with it.
        plain: defaults without a task.
    """
    lines = [f"### task={name}", ""]
    for key, setting in defaults.task_settings.items():
        default = REQUIRED if setting.value == REQUIRED else in_yaml(setting.value)
        lines += _entry(key, setting.text or "See the task", default, f"{name}.{key}")
    lines += ["Settings that have another value with this task:", ""]
    lines += ["| setting | without a task | with it |", "| --- | --- | --- |"]
    for key, default in plain.items():
        if (value := in_yaml(defaults[key])) != default and not _same(value, default):
            lines.append(f"| [`{key}`](#{anchor(key)}) | `{default}` | `{value}` |")
    return "\n".join([*lines, ""])


def _same(value: str, default: str) -> bool:
    """Whether two texts are one number, such as 5 and 5.0."""
    try:
        return float(value) == float(default)
    except ValueError:
        return False


def _entries(texts: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Lines about settings.

    Args:
        texts: name, default and meaning of each.
    """
    for name, default, text in texts:
        yield from _entry(name, _meaning(name, text), default, name)


def _meaning(name: str, text: str) -> str:
    """What a setting means. qat and final have the fields of baseline, which are explained once.

    Args:
        name: of the setting, with its section.
        text: the docstring's.
    """
    section, _, field = name.partition(".")
    if section not in ("qat", "final"):
        return text
    return f"As [`baseline.{field}`](#{anchor(f'baseline.{field}')})."


def _entry(name: str, text: str, default: str, full_name: str) -> list[str]:
    """The lines about one setting: an entry of a definition list.

    Args:
        name: of the setting.
        text: what it means.
        default: as a user would write it, REQUIRED where there is none, or SAID.
        full_name: the name that its anchor has.
    """
    meaning = re.sub(r"\s+", " ", text.replace("``", "`")).strip().removesuffix(".")
    shown = {SAID: "", REQUIRED: " *Must be given.*", "": " *Default: empty.*"}
    ending = shown.get(default, f" *Default:* `{default}`")
    return [f"`{name}`{{#{anchor(full_name)}}}", f": {_escaped(meaning)}.{ending}", ""]


def _escaped(text: str) -> str:
    """A text of the help in Markdown: names are code, signs stand for themselves.

    Args:
        text: in which parts between backticks are code already.
    """
    parts = CODE.sub(r"`\1`", text) if "`" not in text else text
    return "`".join(
        part if number % 2 else re.sub(r"([*_<])", r"\\\1", part)  # every second one is code
        for number, part in enumerate(parts.split("`"))
    )


GENERATED: dict[str, Any] = {
    "commands": commands,
    "search": search,
    "sweep": sweep,
    "tasks": task_settings,
}
"""What a page can name, and what writes it."""


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Write what a page names.

    Args:
        app: of Sphinx.
        name: of the page.
        source: its text, which is replaced.
    """
    source[0] = MARK.sub(lambda mark: GENERATED[mark[1]](), source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension.

    Args:
        app: of Sphinx.
    """
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
