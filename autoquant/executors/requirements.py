"""The libraries of the engines, each of which an extra installs."""

from __future__ import annotations

from importlib.util import find_spec

from autoquant.distribution import extra_command
from autoquant.errors import UserError


def require_engine(engine: str, library: str) -> None:
    """Raise an error where the library of an engine is not installed.

    Args:
        engine: value of the setting ``cluster``, and name of the extra.
        library: that the engine needs.

    Raises:
        UserError: it is not installed.
    """
    if find_spec(library) is None:
        raise UserError(f"cluster={engine} must have {library} ({extra_command(engine)}), got none")
