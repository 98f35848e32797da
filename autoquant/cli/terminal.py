"""Terminal: where the answers and the errors of the command line go, as text or as JSON."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from autoquant.cli.answer import Answer
from autoquant.cli.error_messages import FAILED, STOPPED, print_error
from autoquant.plain_values import to_json


class Terminal:
    """Where the answers and the errors of the command line go.

    As text, answers are printed as they come. As JSON, one object is written at the end. Errors are
    one line on stderr in both cases.

    Args:
        as_json: whether the answer is to be JSON.

    Attributes:
        values: the object.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.values: dict[str, Any] = {}

    def answer(self, answer: Answer) -> dict[str, Any]:
        """Print the answer of a command, where text is asked for; a failure on stderr.

        Args:
            answer: its text ends without a line break.

        Returns:
            its values, with those of the failure.
        """
        if answer.text and not self.as_json:
            print(answer.text, flush=True)
        values = dict(answer.values)
        return values if answer.failure is None else values | self.error(answer.failure, FAILED)

    def error(self, line: str, code: int) -> dict[str, Any]:
        """Print an error on stderr.

        Args:
            line: about it.
            code: the exit code.

        Returns:
            its values.
        """
        print_error(line)
        return error_values(line, code)

    def stop(self, line: str) -> None:
        """Print that the user has stopped the command, on stderr.

        Args:
            line: what the same command will do.
        """
        print(f"\n{line}", file=sys.stderr)
        self.values |= error_values(line, STOPPED)


def error_values(line: str, code: int) -> dict[str, Any]:
    """An error as plain values.

    Args:
        line: about it.
        code: the exit code.
    """
    return {"error": line, "exit_code": code}


@contextmanager
def opened(*, as_json: bool) -> Iterator[Terminal]:
    """A terminal; where it writes JSON, nothing else gets to the output.

    Args:
        as_json: whether the answer is to be JSON, which is written at the end.
    """
    terminal = Terminal(as_json=as_json)
    if not as_json:
        yield terminal
        return
    with _printing_to_stderr():
        yield terminal
    print(to_json(terminal.values), flush=True)


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """All that is printed goes to stderr, what libraries in C and child processes print too."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # not a file: a test or a notebook reads it
        with redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    kept = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()  # what was printed to the stream itself
        with suppress(OSError, TypeError):  # of Windows
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, number)
        os.close(kept)
