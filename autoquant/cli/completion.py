"""Completion of what is typed in a shell: ``autoquant completion bash`` prints a script for it.

The scripts call ``autoquant completion words`` or ``autoquant completion line`` whenever the user
presses the key. Hydra's own completion knows one command per program, and composes the whole
configuration for each answer.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from autoquant.cli.answer import Answer
from autoquant.cli.error_messages import BAD_INPUT, near_hint
from autoquant.errors import shown

if TYPE_CHECKING:
    from autoquant.cli.terminal import Terminal

NAME = "completion"
"""The word that asks for it."""
SHELLS = ("bash", "zsh", "fish")
SUMMARY = f"Print the script that completes commands and settings: {', '.join(SHELLS)}."
USAGE = """\
Usage: autoquant completion SHELL

  bash   in ~/.bashrc:                  eval "$(autoquant completion bash)"
  zsh    in ~/.zshrc, after compinit:   eval "$(autoquant completion zsh)"
  fish   in config.fish:                autoquant completion fish | source"""
BREAKS = "\"'><=;|&(:"
"""Characters that end a word in bash, beside spaces: its default of COMP_WORDBREAKS."""

_SPECIAL = re.compile(r"([\s\"'\\$&|;<>()*?\[\]{}!#~`])")
"""Characters that bash would not take as they are."""
_MARK = "\N{INVISIBLE SEPARATOR}"
"""Stands where the cursor is."""


def run(arguments: Sequence[str], terminal: Terminal) -> int:
    """Print a script, or what may follow; the exit code.

    Args:
        arguments: a shell; or "words" and what was typed behind the name of the program, the word
            at the cursor last; or "line" and the line up to the cursor.
        terminal: that is told.
    """
    asked = arguments[0] if arguments else ""
    if asked == "words":
        return _told(terminal, candidates(arguments[1:]))
    if asked == "line" and len(arguments) > 1:
        return _told(terminal, replies(arguments[1], os.environ.get("COMP_WORDBREAKS", BREAKS)))
    if {"-h", "--help"} & {*arguments}:
        terminal.values = terminal.answer(Answer(f"{SUMMARY}\n\n{USAGE}", {"usage": USAGE}))
        return 0
    if asked not in SHELLS or len(arguments) > 1:
        got = shown(" ".join(arguments))
        line = f"completion must be followed by one of {', '.join(SHELLS)}, got {got}"
        terminal.values = terminal.error(line + near_hint(asked, SHELLS), BAD_INPUT)
        return BAD_INPUT
    script = (files("autoquant.cli") / f"completion.{asked}").read_text(encoding="utf-8")
    terminal.values = terminal.answer(Answer(script.rstrip("\n"), {"script": script}))
    return 0


def _told(terminal: Terminal, lines: Sequence[str]) -> int:
    """Print lines; the exit code.

    Args:
        terminal: that is told.
        lines: what may follow.
    """
    terminal.values = terminal.answer(Answer("\n".join(lines), {"candidates": [*lines]}))
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """What the word at the cursor may become.

    Args:
        words: behind the name of the program, without quotes; the last one is that at the cursor,
            empty where none has been begun.

    Returns:
        complete words, each begins with that at the cursor; those that end with ``=``, ``/`` or
        ``.`` go on. Nothing where a file that is read for it is damaged.
    """
    from autoquant.cli.candidates import words_after
    from autoquant.errors import UserError

    try:
        found = words_after([*words] or [""])
    except (UserError, ValueError, OSError):
        return []
    return [word for word in found if word.isprintable()]


def replies(line: str, breaks: str = BREAKS) -> list[str]:
    """What bash puts in place of the text since the last character at which it breaks words.

    Args:
        line: up to the cursor.
        breaks: characters at which bash breaks words.
    """
    words, quote = _split(line)
    current = words[-1]
    start = max((current.rfind(each) + 1 for each in "=:" if each in breaks), default=0)
    found = []
    for word in candidates(words[1:]):
        end = "" if word.endswith(("=", "/", ".")) else quote + " "
        text = word[start:] if quote else _SPECIAL.sub(r"\\\1", word[start:])
        found.append(text + end)
    return found


def _split(line: str) -> tuple[list[str], str]:
    """The words of a line as a shell reads them, and the quote that is open at its end.

    Args:
        line: up to the cursor.
    """
    for quote in ("", '"', "'"):
        try:
            words = shlex.split(f"{line}{_MARK}{quote}")
        except ValueError:  # another quote is open
            continue
        return [word.replace(_MARK, "") for word in words], quote
    return ["", ""], ""
