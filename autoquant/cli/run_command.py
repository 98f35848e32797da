"""Runs of a command: one, or with ``-m`` one for each combination of several values."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from autoquant.cli.answer import Answer
from autoquant.cli.configuration import register_resolvers
from autoquant.cli.error_messages import STOPPED, explain
from autoquant.cli.help import in_yaml
from autoquant.cli.overrides import MULTIRUN
from autoquant.cli.run_settings import RunSettings
from autoquant.cli.terminal import Terminal, error_values
from autoquant.errors import UserError, first_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

TRACEBACK = "AUTOQUANT_TRACEBACK"
"""Environment variable that lets errors through, so that Python shows where they come from."""

Run = Callable[["DictConfig"], Answer]
"""Runs a command with its configuration."""


def run_command(name: str, run: Run, terminal: Terminal) -> int:
    """Let Hydra parse ``sys.argv``, run a command with the configuration, tell its answer.

    With ``-m`` the command runs several times; an error of one run does not stop the next.

    Args:
        name: of the command, and of its configuration in conf/.
        run: runs the command.
        terminal: that answers, and errors of several runs, are told to.

    Returns:
        the exit code: 0, or the highest one of the runs that failed.

    Raises:
        KeyboardInterrupt: the user has stopped the command.
        Exception: what stopped a single run.
    """
    if not MULTIRUN & set(sys.argv):
        single = _OneRun(run)
        _call_by_hydra(name, single.job)
        terminal.values = terminal.answer(single.ended())
        return int(terminal.values.get("exit_code", 0))
    several = _SeveralRuns(run, terminal, RunSettings.of(sys.argv[1:]))
    terminal.values = {"runs": several.entries}
    with TemporaryDirectory() as folder:
        sys.argv.insert(1, f"hydra.sweep.dir={folder}")  # Hydra writes a multirun.yaml there
        _call_by_hydra(name, several.job)
    return several.ended()


def _call_by_hydra(name: str, job: Callable[[DictConfig], None]) -> None:
    """Call a function with the configuration that Hydra composes; with ``-m`` several times.

    Args:
        name: of the configuration.
        job: the function; it raises nothing, which Hydra would print.
    """
    import hydra

    register_resolvers()
    # a plugin's task may have a file of its name: Hydra merges the two, and warns of it
    warnings.filterwarnings("ignore", r"\s*'task/.*' is validated against ConfigStore schema")
    options = {"version_base": "1.3", "config_path": "pkg://autoquant.conf", "config_name": name}
    try:
        with _composed_once():
            hydra.main(**options)(job)()
    except (ValueError, KeyError, RecursionError) as error:  # of Hydra, before the command ran
        raise UserError(first_line(error)) from error


@contextmanager
def _composed_once() -> Iterator[None]:
    """Leave out Hydra's first composition, which only reads ``hydra.mode``: ``-m`` says it."""
    from hydra._internal.hydra import Hydra

    read_mode = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = read_mode  # type: ignore[method-assign]


class _OneRun:
    """A single run.

    Args:
        run: runs the command.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._answer = Answer("", {})  # where Hydra prints the configuration instead
        self._error: BaseException | None = None

    def job(self, config: DictConfig) -> None:
        """Run the command.

        Args:
            config: of the command.
        """
        try:
            self._answer = self._run(config)
        except BaseException as error:
            self._error = error

    def ended(self) -> Answer:
        """The answer; what stopped the run is raised."""
        if self._error is not None:
            raise self._error
        return self._answer


class _SeveralRuns:
    """Several runs, each told below a heading.

    Args:
        run: runs the command.
        terminal: that answers and errors are told to.
        settings: of the runs.
    """

    def __init__(self, run: Run, terminal: Terminal, settings: RunSettings) -> None:
        self.entries: list[dict[str, Any]] = []
        self._run, self._terminal, self._settings = run, terminal, settings
        self._stop: BaseException | None = None

    def job(self, config: DictConfig) -> None:
        """Run the command once; not after the user has stopped an earlier run.

        Args:
            config: of the run.
        """
        if self._stop is not None:
            return
        settings = self._settings.of_this_run()
        print("\n" * bool(self.entries) + self._heading(settings), flush=True)
        entry: dict[str, Any] = {"settings": settings}
        try:
            answer = self._run(config)
            told = self._terminal.answer(answer)
            entry |= {"result": dict(answer.values)}
            entry |= {key: told[key] for key in ("error", "exit_code") if key in told}
        except KeyboardInterrupt as error:
            self._stop = error
            entry |= error_values("stopped", STOPPED)
        except BaseException as error:
            self._stop = error if os.environ.get(TRACEBACK) else None
            code, line = explain(error)
            entry |= self._terminal.error(line, code)
        self.entries.append(entry)

    def _heading(self, settings: Mapping[str, Any]) -> str:
        """The line above a run.

        Args:
            settings: that differ between the runs.
        """
        number = f"run {len(self.entries) + 1} of {self._settings.count}"
        return f"{number}: {_written(settings)}" if settings else number

    def ended(self) -> int:
        """Print how many runs failed, and which; the exit code.

        Raises:
            KeyboardInterrupt: the user has stopped a run.
            Exception: of a run, where errors are to be let through.
        """
        failed = {
            number: entry
            for number, entry in enumerate(self.entries, start=1)
            if "error" in entry and entry["exit_code"] != STOPPED
        }
        line = f"\n{len(self.entries)} of {self._settings.count} runs, {len(failed)} failed"
        names = [f"run {n} ({_written(entry['settings'])})" for n, entry in failed.items()]
        print(f"{line}: {', '.join(names)}" if names else line, flush=True)
        if self._stop is not None:
            raise self._stop
        return max((entry["exit_code"] for entry in failed.values()), default=0)


def _written(settings: Mapping[str, Any]) -> str:
    """Settings as they are typed."""
    return " ".join(f"{key}={in_yaml(value)}" for key, value in settings.items())
