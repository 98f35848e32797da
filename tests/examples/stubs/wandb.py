"""A stand-in for Weights & Biases that records its calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

from calls import record


@contextmanager
def init(**options: Any) -> Iterator[Any]:
    record("wandb", "init", **options)
    yield SimpleNamespace(id="of-wandb", log=partial(record, "wandb", "log"))
    record("wandb", "finish")
