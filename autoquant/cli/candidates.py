"""What may follow on a command line: commands, options, settings and their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from autoquant.cli.arguments import FLAGS, FOLDERS, OPTIONS, folders_in
from autoquant.cli.command_table import COMMANDS
from autoquant.cli.completion import NAME, SHELLS
from autoquant.cli.overrides import PATHS
from autoquant.cli.places import packed_files, studies, trials
from autoquant.cli.setting_names import setting_names, values_of
from autoquant.cli.task_texts import extended_tasks
from autoquant.reading import read_file
from autoquant.yaml_text import MAX_YAML_BYTES, read_yaml

FILES = (*PATHS, "audio", "output")
"""Settings that are paths."""
DEFAULT_TASK = "stdlib"
"""The task of a command that is given none."""


def words_after(words: Sequence[str]) -> list[str]:
    """What the last word may become.

    Args:
        words: behind the name of the program.

    Raises:
        UserError: a configuration file is not valid YAML.
        OSError: a folder cannot be read.
    """
    *before, current = words
    if not before:
        found: Iterable[str] = (*COMMANDS, NAME, "help", "--help", "--version", "--json")
    elif before[0] == NAME:
        found = SHELLS
    elif before[0] not in COMMANDS:
        found = ()
    else:
        found = _Command(before[0], before[1:]).words(current)
    return [word for word in dict.fromkeys(found) if word.startswith(current)]


class _Command:
    """A command, and what has been typed behind it.

    Args:
        name: of the command.
        typed: settings and options.
    """

    def __init__(self, name: str, typed: Sequence[str]) -> None:
        self.name, self.settings = name, setting_names(name)
        self.typed = typed
        self.given = dict(word.split("=", 1) for word in typed if "=" in word)

    def words(self, current: str) -> Iterable[str]:
        """Words that may stand at the cursor.

        Args:
            current: what has been typed of it.
        """
        if self.typed and self.typed[-1] in OPTIONS:
            option = self.typed[-1]
            return OPTIONS[option] or (_paths(current) if option in FOLDERS else ())
        key, equals, value = current.partition("=")
        if equals:
            return (f"{key}={each}" for each in self._values(key, value))
        if current.startswith("-"):
            return (each for each in (*FLAGS, *OPTIONS) if each.startswith("--"))
        return _shortened(self._names(), current)

    def _names(self) -> list[str]:
        """The settings that have not been given, with an equals sign."""
        names = [*self.settings, *(f"task.{each}" for each in self._task_settings())]
        return [f"{name}=" for name in names if name not in self.given]

    def _values(self, key: str, value: str) -> Iterable[str]:
        """Values of a setting.

        Args:
            key: its name.
            value: what has been typed of it.
        """
        if key in ("task", "quantizer", "cluster"):
            return _options([folder / key for folder in self._folders()])
        if key == "model":
            return self._models()
        if key == "study":
            return [*studies(Path("runs")), *_paths(value, only_folders=True)]
        if key == "artifact":
            return [*packed_files(Path("runs")), *_paths(value)]
        if key == "trial" and "study" in self.given:
            return trials(Path(self.given["study"]))
        if key in FILES:
            return _paths(value)
        if isinstance(self._task_settings().get(key.removeprefix("task.")), bool):
            return ("true", "false")
        return values_of(self.name, key)

    def _folders(self) -> list[Path]:
        """The folders of configuration files: autoquant's own, and that of ``--config-dir``."""
        return [Path(str(files("autoquant.conf"))), *map(Path, folders_in(self.typed))]

    def _task_files(self) -> list[Mapping[str, Any]]:
        """The configuration files of the task and of those that it extends."""
        if not self.settings.keys() & {"task"}:
            return []
        named = self.given.get("task", DEFAULT_TASK)
        return [*_task_files(named, self._folders())]

    def _task_settings(self) -> dict[str, Any]:
        """The settings of the task and their defaults, as far as a file lists them."""
        found: dict[str, Any] = {}
        for content in self._task_files():
            section = content.get("task")
            if isinstance(section, Mapping):
                own = {str(key): each for key, each in section.items() if key != "_target_"}
                found = own | found
        return found

    def _models(self) -> list[str]:
        """The models of the task."""
        families = [
            str(key)
            for content in self._task_files()
            for entry in content.get("defaults") or ()
            if isinstance(entry, Mapping)
            for key, value in entry.items()
            if value == "${model}"
        ]
        folders = [folder / family.lstrip("/") for folder in self._folders() for family in families]
        return _options(folders)


def _task_files(name: str, folders: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    """The configuration files of a task and of those that it extends.

    Args:
        name: of the task.
        folders: of configuration files.
    """
    names = [name]
    for each in names:  # which grows by the tasks that these extend
        for file in (folder / f"task/{each}.yaml" for folder in folders):
            if file.is_file():
                text = read_file(file, MAX_YAML_BYTES)
                names += [other for other in extended_tasks(text) if other not in names]
                content = read_yaml(text)
                if isinstance(content, Mapping):
                    yield content


def _options(folders: Iterable[Path]) -> list[str]:
    """The options of a group, by the names of its files."""
    return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})


def _shortened(names: Sequence[str], current: str) -> list[str]:
    """Names, with those of a section as one word until the section has been typed.

    Args:
        names: full names.
        current: what has been typed.
    """
    typed = current.rpartition(".")[0]
    found: dict[str, None] = {}
    for name in names:
        section, dot, _ = name.partition(".")
        hidden = dot and section != typed.partition(".")[0]
        found[f"{section}." if hidden else name] = None
    return [*found]


def _paths(typed: str, *, only_folders: bool = False) -> list[str]:
    """Files and folders; a folder ends with a slash, but for that of a study.

    Args:
        typed: what has been typed of the path.
        only_folders: whether files are left out.
    """
    head, slash, name = typed.rpartition("/")
    folder = Path(head + slash or ".")
    if not folder.is_dir():
        return []
    found = []
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith(name) or (entry.name.startswith(".") and not name):
            continue
        is_study = only_folders and (entry / "config.yaml").is_file()
        if entry.is_dir() and not is_study:
            found.append(f"{head}{slash}{entry.name}/")
        elif is_study or not only_folders:
            found.append(f"{head}{slash}{entry.name}")
    return found
