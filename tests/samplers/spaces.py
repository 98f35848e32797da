"""A small space with a made-up size, for samplers."""

from __future__ import annotations

from autoquant.plan import Plan
from autoquant.space.search_space import Dimension, SearchSpace

BITS = (1, 2, 4, 8)
UNITS = {"a": 10, "b": 30, "c": 5}


def space_of(*fields: str, bits: tuple[int, ...] = BITS) -> SearchSpace:
    """Dimensions by name, such as "a.width"."""
    choices = {"weight_bits": bits, "activation_bits": (4, 8), "width": (1.0, 1.5, 2.0)}
    dimensions = [Dimension(*name.split("."), choices[name.split(".")[1]]) for name in fields]
    layers = tuple(dict.fromkeys(d.layer for d in dimensions))
    return SearchSpace(tuple(dimensions), layers, {layer: layer for layer in layers})


SPACE = space_of("a.weight_bits", "a.activation_bits", "a.width", "b.weight_bits", "c.weight_bits")


def size_of(plan: Plan) -> int:
    return int(sum(UNITS[n] * c.width * c.weight_bits for n, c in plan.choices.items()))
