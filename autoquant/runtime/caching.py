"""A module that prepares its kernel calls once."""

from __future__ import annotations

from typing import Any

from torch import nn


class CachingModule(nn.Module):
    """A module that keeps in ``_cached`` what its kernel calls need beside inputs.

    The cache holds addresses of the module's tensors. It is None until the first call, and again
    after tensors moved or were loaded; copies and pickles do not have it.
    """

    _cached: Any = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """See nn.Module: tensors move here.

        Args:
            fn: applied to each tensor.
            recurse: whether submodules move too.
        """
        self._cached = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._cached = None
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cached": None}
