"""What the new units of a value hold once the layers that write them have grown.

Units that a LayerNorm reads grow by rows that are the mean of the old rows, those that an RMSNorm
reads by rows of zeros. How far a value still holds the mean, or zeros, depends on the operations
that it went through. New units are always equal to one another: readers can give them pairs of
opposite columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Content = Literal["mean", "zeros", "equal"]


@dataclass(frozen=True)
class NewUnitContents:
    """What the new units of one value hold.

    Attributes:
        mean: where new rows are the mean of the old ones: the "mean" of the old units, "zeros", or
            numbers that are "equal" to one another.
        zeros: where new rows are zeros: "zeros" or "equal".
        cause: what made them hold something else than the rows say, for reasons.
    """

    mean: Content
    zeros: Content
    cause: str = ""


WRITTEN = NewUnitContents("mean", "zeros")
"""Right behind a layer that is linear in its rows."""
CONSTANT = NewUnitContents("mean", "equal")
"""One number for all units."""
UNKNOWN = NewUnitContents("equal", "equal")
"""Numbers of which it is only known that they are equal."""


def equal(cause: str) -> NewUnitContents:
    """As ``UNKNOWN``, and why.

    Args:
        cause: see ``NewUnitContents``.
    """
    return NewUnitContents("equal", "equal", cause)


def normalised(name: str) -> NewUnitContents:
    """Behind a norm over all units: zeros, as the mean is subtracted and the bias is 0.

    Args:
        name: of the norm.
    """
    return NewUnitContents("zeros", "zeros", f"the norm {name} (post-norm)")


def together(parts: Sequence[NewUnitContents], cause: str) -> NewUnitContents:
    """Contents of a sum of values, or of values that stand beside one another.

    Args:
        parts: of each value; at least one.
        cause: the operation.
    """
    causes = [part.cause for part in parts if part.cause]
    mean, zeros = (
        contents.pop() if len(contents) == 1 else "equal"
        for contents in ({part.mean for part in parts}, {part.zeros for part in parts})
    )
    return NewUnitContents(mean, zeros, (causes or [cause])[0])


def through_zero(part: NewUnitContents, cause: str) -> NewUnitContents:
    """Contents after a function that is not linear and has the value 0 at 0.

    Args:
        part: before it.
        cause: the function.
    """
    mean: Content = "zeros" if part.mean == "zeros" else "equal"
    return NewUnitContents(mean, part.zeros, part.cause or cause)


def product(parts: Sequence[NewUnitContents], cause: str) -> NewUnitContents:
    """Contents of a product of several values that have units.

    With one factor of zeros it is zeros. With several it is too, but then no factor has a gradient,
    and the new units would stay what they are: such a product counts as unknown.

    Args:
        parts: of each factor.
        cause: the operation.
    """
    mean: Content = "zeros" if [part.mean for part in parts].count("zeros") == 1 else "equal"
    zeros: Content = "zeros" if [part.zeros for part in parts].count("zeros") == 1 else "equal"
    return NewUnitContents(mean, zeros, next((p.cause for p in parts if p.cause), cause))
