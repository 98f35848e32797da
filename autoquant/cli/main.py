"""The command line, ``autoquant COMMAND key=value ...``.

What takes time to import is imported inside ``main``, where Ctrl-C ends the program with one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autoquant.cli.stop_signals import stopped_by_signals

if TYPE_CHECKING:
    from autoquant.cli.terminal import Terminal

STOPPED = 130
"""Exit code of a command that was stopped."""
JSON = "--json"
"""The option that asks for JSON; it may stand anywhere."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    Args:
        arguments: the name of the command, then its settings; those of the process by default.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stopped_by_signals():
            code = _main([each for each in typed if each != JSON], as_json=JSON in typed)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        code = STOPPED
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    if code:
        sys.exit(code)


def _main(arguments: list[str], *, as_json: bool) -> int:
    """Print a help text or run a command; the exit code.

    Args:
        arguments: the name of the command, then its settings.
        as_json: whether the answer is one JSON object.
    """
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.terminal import opened

    with opened(as_json=as_json) as terminal:
        try:
            if arguments[:1] == ["help"] and len(arguments) > 1:
                arguments = [*arguments[1:], "--help"]
            if "--version" in arguments:
                arguments = ["--version"]
            if arguments and arguments[0] in COMMANDS:
                return _run(arguments[0], arguments[1:], terminal)
            return _other(arguments, terminal)
        except KeyboardInterrupt:
            command = COMMANDS.get(arguments[0]) if arguments else None
            terminal.stop("stopped" if command is None else command.stopped)
            return STOPPED


def _other(arguments: list[str], terminal: Terminal) -> int:
    """What runs no command: the help, the version, the completion of a shell, an unknown name.

    Args:
        arguments: as they were typed.
        terminal: that is told.
    """
    from autoquant.cli import completion
    from autoquant.cli.answer import Answer
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.error_messages import BAD_INPUT, near_hint
    from autoquant.cli.help import overview_answer
    from autoquant.errors import shown

    name = arguments[0] if arguments else None
    if name is None or name in ("-h", "--help", "help"):
        terminal.values = terminal.answer(overview_answer())
        return BAD_INPUT if name is None else 0
    if name == "--version":
        import autoquant

        version = autoquant.__version__
        terminal.values = terminal.answer(Answer(version, {"version": version}))
        return 0
    if name == completion.NAME:
        return completion.run(arguments[1:], terminal)
    names = [*COMMANDS, completion.NAME]
    requirement = f"command must be one of {', '.join(names)}"
    line = f"{requirement}, got {shown(name)}{near_hint(name, names)}"
    terminal.values = terminal.error(line, BAD_INPUT)
    return BAD_INPUT


def _run(command: str, arguments: Sequence[str], terminal: Terminal) -> int:
    """Run a command, or print its help; errors become one line and an exit code.

    Args:
        command: its name.
        arguments: its settings and options.
        terminal: that is told.
    """
    from autoquant.cli.arguments import check_arguments, options_last
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.error_messages import explain
    from autoquant.cli.help import page_answer
    from autoquant.cli.old_names import with_present_names
    from autoquant.cli.overrides import to_overrides

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    described = COMMANDS[command]
    try:
        if {"-h", "--help"} & set(arguments):
            terminal.values = terminal.answer(page_answer(command, arguments))
            return 0
        named = with_present_names(arguments, command)
        check_arguments(command, named, as_json=terminal.as_json)
        stored_task = "artifact" in described.settings
        overrides = to_overrides(options_last(named), stored_task=stored_task)
        sys.argv = [f"autoquant {command}", *overrides]
        return _run_with_plugins(command, terminal)
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("AUTOQUANT_TRACEBACK"):
            raise
        code, line = explain(error, described.settings)
        terminal.values |= terminal.error(line, code)
        return code


def _run_with_plugins(command: str, terminal: Terminal) -> int:
    """Import the plugins, compose the configuration, run the command; the exit code.

    Args:
        command: its name.
        terminal: that is told.
    """
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.config_files import register_source
    from autoquant.cli.overrides import shows_configuration
    from autoquant.cli.run_command import run_command
    from autoquant.cli.schemas import register_schema, register_tasks
    from autoquant.plugins import load_plugins

    load_plugins()
    register_source()
    register_schema(command, defaults=shows_configuration(sys.argv[1:]))
    register_tasks()
    return run_command(command, COMMANDS[command].run, terminal)
