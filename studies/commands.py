"""The commands of autoquant that a study consists of."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from autoquant.cli.main import main as autoquant

Command = list[str]
"""A command of autoquant: its name and its settings, ``key=value``."""


def run(commands: Iterable[Command]) -> None:
    """Print and run commands, one after the other; the first that fails ends the study.

    Args:
        commands: of the study.
    """
    for arguments in commands:
        print("autoquant", shlex.join(arguments), flush=True)
        try:
            autoquant(arguments)
        except SystemExit as end:
            if end.code:
                raise
