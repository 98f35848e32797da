"""Which part of a model's outputs a loss and a score read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoquant.errors import UserError, shown

Output = str | int | Callable[[Any], Any] | None
"""A key or an attribute, the number of a member, or a function of the outputs; None for all."""


def check_output(output: object) -> None:
    """Raise a UserError where ``output`` selects nothing.

    Args:
        output: what a user gave.

    Raises:
        UserError: it is no ``Output``.
    """
    if output is None or isinstance(output, str | int) or callable(output):
        return
    requirement = "output must be a key, a number or a function of the model's outputs"
    raise UserError(f"{requirement}, got {shown(output)}")


def selected(outputs: Any, output: Output) -> Any:
    """The part of a model's outputs that is asked for.

    Args:
        outputs: of the model.
        output: which part.

    Raises:
        UserError: the outputs do not have it.
    """
    if output is None:
        return outputs
    if callable(output):
        return output(outputs)
    try:
        if isinstance(output, str) and not isinstance(outputs, Mapping):
            return getattr(outputs, output)
        return outputs[output]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        keys = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
        raise UserError(
            f"output must name a part of what the model returns, a {type(outputs).__name__}{keys}, "
            f"got {shown(output)}"
        ) from error
