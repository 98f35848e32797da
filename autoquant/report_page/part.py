"""Part: what a section of the page shows, or one line that says why it shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from autoquant.errors import first_line

T = TypeVar("T")


@dataclass(frozen=True)
class Part(Generic[T]):
    """A part of the page.

    Attributes:
        content: None where there is none.
        missing: why; empty where there is content.
    """

    content: T | None
    missing: str = ""


def part(build: Callable[[], T | None], missing: str) -> Part[T]:
    """A part of the page; one that cannot be made does not keep the others from being shown.

    Args:
        build: makes the content; None where the study has no data for it.
        missing: what is said then.
    """
    try:
        content = build()
    except Exception as error:  # a file of the study that is not as it was written, for example
        return Part(None, f"This could not be made: {first_line(error)}")
    return Part(content, missing if content is None else "")
