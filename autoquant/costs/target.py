"""Target: the runtime that a plan is for, which bits it stores, and how many bytes they take.

With ``target=onnxruntime`` a search chooses among the bits that ONNX Runtime stores, and its budget
is the size of the exported file. Another target is one object in any module::

    TARGETS.add(Target("mine", size=my_cost, weight_bits=(4, 8), activation_bits=(8,)))
"""

from __future__ import annotations

from dataclasses import dataclass

from autoquant.costs.cost import Constant, Cost, LayerCost, LayerFunction
from autoquant.costs.size import size
from autoquant.errors import UserError, shown
from autoquant.plan import WEIGHT_FIELDS, Bits
from autoquant.settings import TARGET_NAMES, Search

FLOATS = (16, 32)
"""Bits that every target has."""
FLOAT = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Target:
    """A runtime that a plan is for.

    Attributes:
        name: the value of ``target``.
        size: bytes of the exported file of a plan; a cost named "size".
        weight_bits: bits that it stores, below 16.
        activation_bits: bits of activations that it computes, below 16.
    """

    name: str
    size: Cost
    weight_bits: tuple[Bits, ...]
    activation_bits: tuple[int, ...]

    def allows(self, field: str, bits: float) -> bool:
        """Whether a choice of bits is possible.

        Args:
            field: of a LayerChoice, such as "weight_bits".
            bits: the choice.
        """
        weights = field in ("weight_bits", "recurrent_bits")
        return bits in (*(self.weight_bits if weights else self.activation_bits), *FLOATS)


class _Targets(dict[str, Target]):
    """All targets, by their names."""

    def add(self, target: Target) -> Target:
        """Register a target.

        Args:
            target: replaces one of the same name.

        Returns:
            the target.
        """
        self[target.name] = target
        TARGET_NAMES.register(target.name)
        return target


TARGETS = _Targets()
"""All targets, by their names."""


def size_cost(of_layer: LayerFunction, outside: Constant) -> Cost:
    """The cost "size" of a target.

    Args:
        of_layer: bytes of a layer.
        outside: bytes of everything else.
    """
    layers = LayerCost(of_layer, "sum", outside)
    return Cost("size", "bytes", frozenset((*WEIGHT_FIELDS, "width")), layers.of, layers)


def size_in_target(settings: Search) -> Cost:
    """The cost that the budget limits: bytes of the packed file, or of the exported one.

    Args:
        settings: of a search.

    Raises:
        UserError: there is no such target.
    """
    return size if settings.target is None else _named(settings.target).size


def _named(name: str) -> Target:
    """A registered target.

    Args:
        name: its name.

    Raises:
        UserError: there is no such target.
    """
    if name not in TARGETS:
        raise UserError(f"target must be one of {', '.join(TARGETS)}, got {shown(name)}")
    return TARGETS[name]


def for_target(settings: Search) -> Search:
    """Settings with the choices that their target has, and no others.

    Args:
        settings: of a search.

    Raises:
        UserError: a layer has no choice left.
    """
    if settings.target is None:
        return settings
    target = _named(settings.target)
    space = settings.space.changed(
        weight_bits=_kept(target, "space", "weight_bits", settings.space.weight_bits),
        activation_bits=_kept(target, "space", "activation_bits", settings.space.activation_bits),
    )
    rules = {
        pattern: {
            field: choices
            if field == "width"
            else _kept(target, f"rules.{pattern}", field, choices)
            for field, choices in fields.items()
        }
        for pattern, fields in settings.rules.items()
    }
    references = tuple(b for b in settings.references if target.allows("weight_bits", b))
    return settings.changed(space=space, rules=rules, references=references)


def _kept(
    target: Target, section: str, field: str, choices: tuple[float, ...]
) -> tuple[float, ...]:
    """The choices that a target has.

    Args:
        target: of the search.
        section: of the settings, for the error.
        field: of a LayerChoice; all widths are kept.
        choices: in rising order.

    Raises:
        UserError: there is none.
    """
    kept = tuple(bits for bits in choices if field == "width" or target.allows(field, bits))
    if not kept:
        weights = field in ("weight_bits", "recurrent_bits")
        has = (*(target.weight_bits if weights else target.activation_bits), *FLOATS)
        requirement = f"bits that target={target.name} stores ({', '.join(map(str, has))})"
        raise UserError(f"{section}.{field} must have {requirement}, got {[*choices]}")
    return kept
