"""What the new units of a value hold once the layers that write them have grown.

Units that a LayerNorm reads grow by rows that are the mean of the old rows, those that an RMSNorm
reads by rows of zeros. How far a value still holds the mean, or zeros, depends on the operations
that it went through. New units are always equal to one another: readers can give them pairs of
opposite columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Content = Literal["mean", "zeros", "equal"]


class Held(NamedTuple):
    """What new units hold under one kind of rows.

    Attributes:
        content: the "mean" of the old units, "zeros", or numbers that are "equal" to one another.
        cause: what made it something else than the rows say, for reasons.
    """

    content: Content
    cause: str = ""


@dataclass(frozen=True)
class NewUnitContents:
    """What the new units of one value hold.

    Attributes:
        mean: where new rows are the mean of the old ones.
        zeros: where new rows are zeros.
    """

    mean: Held
    zeros: Held


WRITTEN = NewUnitContents(Held("mean"), Held("zeros"))
"""Right behind a layer that is linear in its rows."""
CONSTANT = NewUnitContents(Held("mean"), Held("equal", "a constant was added"))
"""One number for all units."""
UNKNOWN = NewUnitContents(Held("equal"), Held("equal"))
"""Numbers of which it is only known that they are equal."""


def equal(cause: str) -> NewUnitContents:
    """As ``UNKNOWN``, and why.

    Args:
        cause: see ``Held``.
    """
    return NewUnitContents(Held("equal", cause), Held("equal", cause))


def normalised(name: str) -> NewUnitContents:
    """Behind a norm over all units: zeros, as the mean is subtracted and the bias is 0.

    Args:
        name: of the norm.
    """
    zeros = Held("zeros", f"the norm {name} (post-norm)")
    return NewUnitContents(zeros, zeros)


def together(parts: Sequence[NewUnitContents], cause: str) -> NewUnitContents:
    """Contents of a sum of values, or of values that stand beside one another.

    Args:
        parts: of each value.
        cause: the operation.
    """
    return _of_each(_together, parts, cause)


def _together(parts: Sequence[Held], cause: str) -> Held:
    contents = {part.content for part in parts}
    causes = [part.cause for part in parts if part.cause]
    if len(contents) == 1:
        return Held(contents.pop(), causes[0] if causes else "")
    return Held("equal", causes[0] if causes else cause)


def through_zero(part: NewUnitContents, cause: str) -> NewUnitContents:
    """Contents after a function that is not linear and has the value 0 at 0.

    Args:
        part: before it.
        cause: the function.
    """
    return NewUnitContents(_through_zero(part.mean, cause), _through_zero(part.zeros, cause))


def _through_zero(part: Held, cause: str) -> Held:
    return part if part.content != "mean" else Held("equal", cause)


def product(parts: Sequence[NewUnitContents], cause: str) -> NewUnitContents:
    """Contents of a product of several values that have units.

    With one factor of zeros it is zeros. With several it is too, but then no factor has a gradient,
    and the new units would stay what they are: such a product counts as unknown.

    Args:
        parts: of each factor.
        cause: the operation.
    """
    return _of_each(_product, parts, cause)


def _product(parts: Sequence[Held], cause: str) -> Held:
    one = [part.content for part in parts].count("zeros") == 1
    return Held("zeros" if one else "equal", cause)


def _of_each(
    combine: Callable[[Sequence[Held], str], Held], parts: Sequence[NewUnitContents], cause: str
) -> NewUnitContents:
    """Contents of several values combined, for both ways of making new units.

    Args:
        combine: gives what is held for one of the ways.
        parts: of each value.
        cause: the operation.
    """
    return NewUnitContents(
        combine([part.mean for part in parts], cause),
        combine([part.zeros for part in parts], cause),
    )
