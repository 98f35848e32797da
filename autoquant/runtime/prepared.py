"""What a packed layer's calls need, made at the first one and kept until the layer changes."""

from __future__ import annotations

from typing import Any

from torch import nn


class Prepared(nn.Module):
    """A module that keeps ``_ready``, which has addresses of its tensors in it.

    It is forgotten where tensors move, where they are loaded, and in copies.
    """

    _ready: Any = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._ready = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *given: Any) -> None:
        self._ready = None
        super()._load_from_state_dict(*given)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ready": None}
