"""Versions: what driver and workers must have in common, and the errors of a worker that has not.

The errors end a batch: on every try they would be the same.
"""

from __future__ import annotations

import re
import socket
import sys
from importlib.metadata import PackageNotFoundError, version

from autoquant.distribution import NAME
from autoquant.errors import RunError, first_line

Versions = tuple[str, str, str]
"""Of autoquant, of Python (major and minor) and of torch: plain texts, which any Python reads."""

EVERYWHERE = "install it on every node (for Ray, or start the nodes with it on PYTHONPATH)"
"""What to do about a missing module."""
_MISSING = re.compile(
    r"No module named .autoquant(\.|'|$)|No package metadata was found for autoquant"
)


def current_versions() -> Versions:
    """Those of this process."""
    return version(NAME), f"{sys.version_info.major}.{sys.version_info.minor}", _torch_version()


def _torch_version() -> str:
    """Torch's version; torch is not imported for it."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return "none"


def check_versions(driver: Versions) -> None:
    """Raise an error where this worker cannot read what the driver sends.

    Torch may differ: scores are recorded with its version.

    Args:
        driver: its versions.

    Raises:
        RunError: autoquant or Python has another version.
    """
    autoquant, python, _ = current_versions()
    if python != driver[1]:
        raise RunError(
            f"every worker must run Python {driver[1]}, got {python} on {socket.gethostname()}: "
            "start the workers with the Python of the driver"
        )
    if autoquant != driver[0]:
        raise RunError(
            f"every worker must have autoquant {driver[0]}, got {autoquant} on "
            f"{socket.gethostname()}: pip install {NAME}=={driver[0]} there"
        )


def unpickling_error(error: Exception, driver: Versions) -> RunError:
    """The error of a worker that could not unpickle what the driver sent.

    Args:
        error: that unpickling raised.
        driver: its versions.
    """
    host = socket.gethostname()
    if isinstance(error, ModuleNotFoundError):
        return RunError(
            f"every worker must have the module '{error.name}', which the task needs, got none on "
            f"{host}: {EVERYWHERE}"
        )
    torch = _torch_version()
    other = f"; the driver has torch {driver[2]}, {host} has {torch}" if torch != driver[2] else ""
    return RunError(
        f"a worker on {host} could not unpickle the task: {type(error).__name__}: "
        f"{first_line(error)}{other}"
    )


def without_autoquant(text: str, host: str = "") -> RunError | None:
    """The error of a worker that could not import this package.

    Args:
        text: of the engine's error.
        host: of the worker, if the engine names it.

    Returns:
        the error; None where the text does not speak of this package.
    """
    if _MISSING.search(text) is None:
        return None
    place = f" on {host}" if host else " on one"
    requirement = f"every worker must have autoquant {version(NAME)}"
    return RunError(f"{requirement}, got none{place}: {EVERYWHERE}")
