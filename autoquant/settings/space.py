"""Space: the choices that a search has; Widening: which layers may grow; Rules: of some layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from autoquant.plan import Bits, LayerChoice
from autoquant.settings.base import Settings
from autoquant.settings.checks import check_types, checked_list, require, rising

Rules = dict[str, dict[str, tuple[float, ...]]]
"""Choices of layers by a pattern of their names and a field of LayerChoice; the last match wins."""
GROWTH_METHODS = ("split", "fresh")
"""Values of ``widening.method``."""
RULE_FIELDS = tuple(each.name for each in fields(LayerChoice))
"""What a rule can set."""


@dataclass(frozen=True)
class Widening(Settings):
    """Which layers may grow, and how.

    Attributes:
        max_share: Largest share of the model's parameters that a layer may hold.
        max_growth: Largest share that growing the layer by half may add to the model.
        method: "split" duplicates units and divides their outgoing weights, "fresh" adds random
            units whose contribution is zero; both keep the function.
    """

    max_share: float = 0.10
    max_growth: float = 0.10
    method: str = "split"

    def __post_init__(self) -> None:
        check_types(self, "widening.")
        require(0 <= self.max_share <= 1, "widening.max_share must be in [0, 1]", self.max_share)
        require(self.max_growth >= 0, "widening.max_growth must not be negative", self.max_growth)
        requirement = f"widening.method must be {' or '.join(GROWTH_METHODS)}"
        require(self.method in GROWTH_METHODS, requirement, self.method)


@dataclass(frozen=True)
class Space(Settings):
    """The choices that the search has; each list in rising order.

    Attributes:
        weight_bits: Bits of weights: any of 1-8, 16, 32, and 1.6: the levels -1, 0 and 1, five to a
            byte.
        activation_bits: Bits of layer inputs and hidden states: any of 2-8, 16, 32. The packed size
            hardly depends on them; the score, the runtime memory and the bit-operations do. 16 bits
            are for inputs that span decades, where 8 bits hurt. A hidden state with bits of its own
            takes the choices of up to 8 bits, if no rule names others.
        width: Neuron multipliers of widenable layers, from 1.0 up.
        split_recurrent: Whether recurrent weights and hidden states have bits of their own.
    """

    weight_bits: tuple[Bits, ...] = (1, 1.6, 2, 3, 4, 5, 6, 8)
    activation_bits: tuple[int, ...] = (4, 6, 8, 16)
    width: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0)
    split_recurrent: bool = True

    def __post_init__(self) -> None:
        check_types(self, "space.")
        for name in ("weight_bits", "activation_bits", "width"):
            values = checked_list(f"space.{name}", getattr(self, name))
            object.__setattr__(self, name, rising("space", name, values))
        require(self.width[0] == 1.0, "space.width must start at 1.0", list(self.width))


def checked_rules(rules: Any) -> Rules:
    """Rules by name, every value a tuple of choices; a single number is one choice."""
    rules = {} if rules is None else rules
    shape = "rules must map layer names to choices, as in {decoder: {weight_bits: [4, 8]}}"
    require(isinstance(rules, Mapping), shape, rules)
    checked: Rules = {}
    for given, choices in rules.items():
        plain = isinstance(given, str | int) and not isinstance(given, bool)
        require(plain, "rules must have names or patterns of layers as keys (quoted)", given)
        where = f"rules.{given}"
        require(isinstance(choices, Mapping), f"{where} must be like {{weight_bits: 8}}", choices)
        for name in choices:
            known = f"{where} must have keys among {', '.join(RULE_FIELDS)}"
            require(name in RULE_FIELDS, known, name)
        checked[str(given)] = {
            name: rising(where, name, value if isinstance(value, list | tuple) else [value])
            for name, value in choices.items()
        }
    return checked
