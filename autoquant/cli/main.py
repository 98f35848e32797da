"""The command line, ``autoquant COMMAND key=value ...``.

What takes time to import is imported inside ``main``, where Ctrl-C ends the program with one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

STOPPED = 130
"""Exit code of a command that was stopped."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    Args:
        arguments: the name of the command, then its settings; those of the process by default.
    """
    try:
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        code = STOPPED
    if code:
        sys.exit(code)


def _main(arguments: list[str]) -> int:
    """Print a help text or run a command; the exit code.

    Args:
        arguments: the name of the command, then its settings.
    """
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.error_messages import BAD_INPUT, print_error
    from autoquant.cli.help import overview

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0 if arguments else BAD_INPUT
    if arguments[0] == "--version":
        import autoquant

        print(autoquant.__version__)
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        print_error(f"command must be one of {', '.join(COMMANDS)}, got {command!r}")
        return BAD_INPUT
    return _run(command, arguments[1:])


def _run(command: str, arguments: Sequence[str]) -> int:
    """Run a command, or print its help; errors become one line and an exit code.

    Args:
        command: its name.
        arguments: its settings and options.
    """
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.error_messages import explain, print_error
    from autoquant.cli.help import page
    from autoquant.cli.old_names import with_present_names
    from autoquant.cli.overrides import to_overrides

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    try:
        if {"-h", "--help"} & set(arguments):
            print(page(command, arguments), end="")
            return 0
        described = COMMANDS[command]
        named = with_present_names(arguments, command)
        overrides = to_overrides(named, stored_task="artifact" in described.settings)
        sys.argv = [f"autoquant {command}", *overrides]
        _run_with_plugins(command)
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("AUTOQUANT_TRACEBACK"):
            raise
        code, line = explain(error, COMMANDS[command].settings)
        print_error(line)
        return code
    return 0


def _run_with_plugins(command: str) -> None:
    """Import the plugins, compose the configuration, run the command."""
    from autoquant.cli.command_table import COMMANDS
    from autoquant.cli.config_files import register_source
    from autoquant.cli.configuration import run_with_configuration
    from autoquant.cli.overrides import shows_configuration
    from autoquant.cli.schemas import register_schemas, register_tasks
    from autoquant.plugins import load_plugins

    load_plugins()
    register_source()
    register_schemas(defaults=shows_configuration(sys.argv[1:]))
    register_tasks()
    run_with_configuration(command, COMMANDS[command].run)
