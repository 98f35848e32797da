from __future__ import annotations

import pytest
from torch import Tensor

from autoquant.runtime import PackedWeight


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weight may be decoded: what runs under it runs on integers."""

    def refuse(self: PackedWeight) -> Tensor:
        raise AssertionError("a weight was decoded")

    monkeypatch.setattr(PackedWeight, "values", refuse)
