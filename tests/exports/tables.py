"""Tables of torch and onnxscript that are the same for every export, made once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def tables_made_once() -> Iterator[None]:
    """Each export makes them anew: translations of all operators, operators that are composed."""
    with pytest.MonkeyPatch.context() as patch:
        _translations_once(patch)
        _composed_operators_once(patch)
        yield


def _translations_once(patch: pytest.MonkeyPatch) -> None:
    if find_spec("onnxscript") is None:
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**options: Any) -> Any:
        """A copy: each export adds translations of its own."""
        registry = copy(made(**options))
        registry.functions = {key: [*entry] for key, entry in registry.functions.items()}
        return registry

    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib))


def _composed_operators_once(patch: pytest.MonkeyPatch) -> None:
    import torch._export.utils as utils

    add_all: Any = getattr(utils, "_materialize_cpp_cia_ops", None)
    if add_all is None:
        return
    added: list[str] = []

    def add_new() -> None:
        """Add composed operators where one was registered since."""
        listed = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
        if listed != added:
            add_all()
            added[:] = listed

    patch.setattr(utils, "_materialize_cpp_cia_ops", add_new)
