"""Assets as a user gives them, as bytes."""

from __future__ import annotations

from collections.abc import Mapping

from autoquant.errors import UserError, shown


def bytes_of(assets: Mapping[str, str | bytes] | None) -> dict[str, bytes]:
    """Assets by name; texts in UTF-8.

    Args:
        assets: texts or bytes by name; none when None.

    Raises:
        UserError: they are something else.
    """
    if assets is not None and not isinstance(assets, Mapping):
        raise UserError(f"assets must be texts or bytes by name, got {shown(assets)}")
    stored = {}
    for name, asset in (assets or {}).items():
        if not isinstance(asset, str | bytes):
            raise UserError(f"asset {name} must be a text or bytes, got a {type(asset).__name__}")
        stored[name] = asset.encode() if isinstance(asset, str) else asset
    return stored
