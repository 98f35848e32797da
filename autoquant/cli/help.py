"""The help pages: what a command does, its settings, their defaults and meanings.

The texts of a command's own settings are in the table of commands; those of all other settings are
in the docstrings of the classes of ``autoquant.settings``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass

from autoquant.cli import completion
from autoquant.cli.answer import Answer
from autoquant.cli.command_table import COMMANDS, REQUIRED, Command
from autoquant.cli.defaults import Defaults, defaults_for
from autoquant.cli.docstring_entries import entries_of
from autoquant.settings import Search

WIDTH = 92  # characters of a line
COLUMN = 28  # at which the meaning of a setting begins

OVERVIEW = """\
autoquant: finds the bits and the width of each layer of a model, within a size budget.

Usage: autoquant COMMAND [key=value ...]

{commands}

A first run, on text that every machine has:

  autoquant search budget=0.15x
  autoquant apply study=runs/stdlib-0.15x

'autoquant COMMAND --help' lists a command's settings; with task=NAME, those of a task.
'--cfg job' prints their values. With -m, key=a,b runs the command for a and for b.
'--json' writes the result as one JSON object, and all else to stderr.
Exit codes: 0 done, 1 the run failed, 2 bad input, 130 stopped (search, sweep and apply go on from
there with the same command).
AUTOQUANT_PLUGINS=mymodule,other imports modules with extensions of your own.
AUTOQUANT_TRACEBACK=1 shows where an error comes from."""


def overview_answer() -> Answer:
    """The help of the program: all commands."""
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    summaries[completion.NAME] = completion.SUMMARY
    lines = [f"  {name:<10} {summary}" for name, summary in summaries.items()]
    return Answer(OVERVIEW.format(commands="\n".join(lines)), {"commands": summaries})


def page_answer(name: str, arguments: Sequence[str] = ()) -> Answer:
    """The help of a command.

    Args:
        name: of the command.
        arguments: what was typed beside ``--help``.

    Raises:
        UserError: see ``defaults_for``.
    """
    return Answer(page(name, arguments), {"command": name, "summary": COMMANDS[name].summary})


def page(name: str, arguments: Sequence[str] = ()) -> str:
    """The help text of a command.

    Args:
        name: of the command.
        arguments: what was typed beside ``--help``; the task, the model and the quantizer among
            them decide which defaults are shown.

    Raises:
        UserError: see ``defaults_for``.
    """
    command = COMMANDS[name]
    lines = [command.summary, "", f"Usage: autoquant {name} [setting=value ...]", ""]
    for key, setting in command.settings.items():
        lines += _entry(key, setting.text)
    for section, settings in command.sections.items():
        lines += _entries(setting_texts(settings, f"{section}."))
    if command.listed:
        lines += _defaults(command, defaults_for(name, arguments))
    return "\n".join(lines)


def _defaults(command: Command, defaults: Defaults) -> list[str]:
    """The lines about the settings of the task, and about those of ``Search``.

    Args:
        command: whose settings are listed.
        defaults: that are in use.
    """
    lines = ["", f"Settings of task={defaults.task}:", ""]
    for key, setting in defaults.task_settings.items():
        given = setting.value == REQUIRED
        default = "(must be given)" if given else _default(in_yaml(setting.value))
        lines += _entry(key, f"{setting.text} {default}".strip())
    lines += ["", f"Settings of every task, with their defaults for task={defaults.task}:", ""]
    if "quantizer" in command.listed:
        lines += ["quantizer=lsq or quantizer=bit_rnn selects a whole quantizer section.", ""]
    if "cluster" in command.listed:
        lines += ["cluster=local, cluster=ray or cluster=slurm selects where trainings run.", ""]
    listed = [text for text in setting_texts(Search) if text[0].split(".")[0] in command.listed]
    lines += _entries((name, in_yaml(defaults[name]), text) for name, _, text in listed)
    return lines


def setting_texts(settings: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of every setting.

    Args:
        settings: a class of ``autoquant.settings``. Settings of its sections are listed too.
        prefix: section of the settings, with a dot at its end.
    """
    texts = entries_of(settings, "Attributes")
    for setting in fields(settings):
        name = f"{prefix}{setting.name}"
        if is_dataclass(setting.default):
            for inner, _, text in setting_texts(type(setting.default), f"{name}."):
                value = getattr(setting.default, inner.removeprefix(f"{name}."))
                yield inner, in_yaml(value), text
        else:
            default = {} if setting.default is MISSING else setting.default
            yield name, in_yaml(default), texts[setting.name]


def in_yaml(value: object) -> str:
    """A default as a user would write it."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(in_yaml, value)) + "]"
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{key}: {in_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value != value.strip():
        return "'" + value.replace("'", "''") + "'"
    return "null" if value is None else str(value)


def _default(value: str) -> str:
    """What is said of a default."""
    return f"(default {value or 'empty'})"


def _entries(texts: Iterable[tuple[str, str, str]]) -> list[str]:
    """Lines about settings: ``setting_texts``, or some of them."""
    lines = []
    for name, default, text in texts:
        lines += _entry(name, f"{_meaning(name, text)} {_default(default)}")
    return lines


def _meaning(name: str, text: str) -> str:
    """What a setting means. qat and final have the fields of baseline, which are explained once."""
    section, _, field = name.partition(".")
    return f"As baseline.{field}." if section in ("qat", "final") else text.replace("``", "")


def _entry(name: str, text: str) -> list[str]:
    """The lines about one setting."""
    indent, width = " " * COLUMN, COLUMN - 3
    wrapped = textwrap.wrap(text, WIDTH - COLUMN)
    first = f"  {name:<{width}} {wrapped[0]}"
    if len(name) > width:
        first = f"  {name}\n{indent}{wrapped[0]}"
    return [first, *(indent + line for line in wrapped[1:])]
