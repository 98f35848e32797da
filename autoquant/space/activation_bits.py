"""Which bits of activations are used where a search does not choose them."""

from __future__ import annotations

from typing import TypeVar

from autoquant.settings import Space

Number = TypeVar("Number", bound=float)
USUAL_BITS = 8
"""Of activations: what integer kernels and other tools quantize them with."""


def uniform_activation_bits(choices: Space) -> int:
    """The bits of all activations in a uniform plan: 8, or the choice next to it.

    >>> uniform_activation_bits(Space(activation_bits=(4, 6, 8, 16)))
    8
    >>> uniform_activation_bits(Space(activation_bits=(4, 6)))
    6

    Args:
        choices: of the search.
    """
    return usual_choices(choices.activation_bits)[-1]


def usual_choices(choices: tuple[Number, ...]) -> tuple[Number, ...]:
    """The choices of at most 8 bits; the lowest one where all have more.

    A hidden state has these: it rarely spans decades, and more bits have no integer kernel.

    Args:
        choices: bits, rising.
    """
    return tuple(bits for bits in choices if bits <= USUAL_BITS) or choices[:1]
