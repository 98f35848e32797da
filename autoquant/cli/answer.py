"""Answer: what a command tells when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a command tells when it is done.

    Attributes:
        text: for people.
        values: the same for programs (``--json``), plain.
        failure: why the command failed although it has a result; None where it did not.
    """

    text: str
    values: Mapping[str, Any]
    failure: str | None = None
