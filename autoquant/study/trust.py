"""Trust: which code a study's configuration would run, and whether the user knows it.

A configuration names classes and functions by import paths, so that a folder from somebody else can
name any. Those of autoquant's own tasks and of the user's plugins need no trust, nor does a
configuration that this user has searched with: the user's state folder has its digest.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from autoquant import tasks
from autoquant.errors import UserError, shown
from autoquant.settings import KERNELS, SCALES
from autoquant.task import TASKS
from autoquant.tasks import ready  # noqa: F401 (which registers them)
from autoquant.tasks.callables import CROSS_ENTROPY, IMPORTED, IMPORTING

VARIABLE = "AUTOQUANT_STATE"
"""Environment variable with the user's state folder; autoquant's own of XDG_STATE_HOME if unset."""
MOST_LISTED = 20
"""Import paths that a message lists."""


def require_trust(source: Path, config: Mapping[str, Any], *, trusted: bool) -> None:
    """Raise a UserError where a configuration would run code that the user does not know.

    A configuration that is trusted once is known from then on.

    Args:
        source: the file of the configuration, named in the error.
        config: its values.
        trusted: whether the user trusts it.

    Raises:
        UserError: it names foreign code, is not known and not trusted.
    """
    paths = [*foreign_paths(config)]
    if not paths or (not trusted and is_known(config)):
        return
    if trusted:
        remember(config)
        return
    listed = ", ".join(dict.fromkeys(paths[:MOST_LISTED]))
    more = f", ... {len(paths)} in all" if len(paths) > MOST_LISTED else ""
    raise UserError(
        f"trust=true must be given for a study that this user has not searched with: '{source}' "
        f"would import and call {listed}{more}"
    )


# --- what a configuration runs -------------------------------------------------------------------


def foreign_paths(config: Mapping[str, Any]) -> Iterator[str]:
    """What a configuration would import that is neither autoquant's own nor a plugin's, in quotes.

    Args:
        config: a study's, or a part of one.
    """
    task, kernel, scale = _parts(config)
    yield from _foreign(task)
    for value, names in ((kernel, KERNELS), (scale, SCALES)):
        if value not in names and names.allows(value):  # settings refuse all others
            yield shown(value)


def _parts(config: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """The parts of a configuration that name code: task, kernel, and the rule for scales."""
    quantizer = config.get("quantizer")
    scale = quantizer.get("scale") if isinstance(quantizer, Mapping) else None
    return config.get("task"), config.get("kernel"), scale


def _foreign(tree: Any) -> Iterator[str]:
    """The import paths in a part of a task's configuration.

    Args:
        tree: a mapping, a list, or a plain value.
    """
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "_target_":
                foreign = not _is_own_target(value)
            else:
                foreign = _is_import_path(key, value, tree.get("_target_"))
            yield from [shown(value)] if foreign else _foreign(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _foreign(value)
    elif isinstance(tree, str) and "${" in tree:  # may become any text, from the environment too
        yield shown(tree)


def _is_own_target(target: object) -> bool:
    """Whether a target is a registered task, or a public class of ``autoquant.tasks``.

    No function of autoquant besides: some import, write or delete what their arguments name.

    Args:
        target: of a configuration.
    """
    if not isinstance(target, str):
        return False
    if target in (f"{f.__module__}.{getattr(f, '__qualname__', '')}" for f in TASKS.values()):
        return True
    module, _, name = target.rpartition(".")
    own = {f"{tasks.__name__}.{each.name}" for each in pkgutil.iter_modules(tasks.__path__)}
    if module not in own or name.startswith("_"):
        return False
    value = vars(import_module(module)).get(name)
    return isinstance(value, type) and value.__module__ == module


def _is_import_path(key: object, value: object, target: object) -> bool:
    """Whether an argument of a task is an import path, which some tasks import (IMPORTING).

    Args:
        key: of the argument.
        value: of the argument.
        target: that takes it. Of tasks that do not import it a model may have a plain name.
    """
    if key == "_args_":
        return isinstance(value, list) and any(isinstance(each, str) for each in value)
    if key not in IMPORTED or not isinstance(value, str):
        return False
    if value == CROSS_ENTROPY or (key == "score" and "." not in value):
        return False
    plain = value.isidentifier() and target not in IMPORTING
    return not (key == "model" and plain)


# --- what the user knows -------------------------------------------------------------------------


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether this user has searched with, or trusted, a configuration that runs the same code.

    Args:
        config: a study's.
    """
    folder = _state_folder()
    return folder is not None and (folder / _digest(config)).is_file()


def remember(config: Mapping[str, Any]) -> None:
    """Record that this user knows a configuration; nothing happens where that cannot be written.

    Args:
        config: a study's.
    """
    folder = _state_folder()
    if folder is None:
        return
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _digest(config)).touch()


def _state_folder() -> Path | None:
    """The folder with a file for each known digest; None where the user has no home."""
    if own := os.environ.get(VARIABLE):
        return Path(own) / "known"
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base) / "autoquant" / "known"
    try:
        return Path.home() / ".local" / "state" / "autoquant" / "known"
    except RuntimeError:
        return None


def _digest(config: Mapping[str, Any]) -> str:
    """The SHA-256 of all parts that run code, in hexadecimal digits.

    Args:
        config: a study's, as it was written or as it is read.
    """
    parts = _plain(_parts(config))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _plain(tree: Any) -> Any:
    """Nested values with lists in place of tuples, as YAML has them."""
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(value) for value in tree] if isinstance(tree, list | tuple) else tree
