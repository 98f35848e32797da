"""The task that the tests of training share."""

from __future__ import annotations

import pytest

from autoquant.tasks.language import LanguageTask
from tests import toys


@pytest.fixture(scope="module")
def task() -> LanguageTask:
    """19 steps an epoch, with dropout, so that every random source matters."""
    return toys.language_task(dropout=0.3)
