"""PlanRows: what a plan decides, layer by layer, short enough to be shown beside a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autoquant.figures.labels import format_width, shorten
from autoquant.plan import LayerChoice, Plan

MOST_ROWS = 20
"""Layers of a plan that are shown beside its point, the largest ones; the rest is summed."""


@dataclass(frozen=True)
class PlanRow:
    """A layer of a plan.

    Attributes:
        name: of the layer, or of the rest.
        weight_bits: of its weights, and of its recurrent ones.
        activation_bits: of its input, and of its hidden state.
        width: "x1.5"; empty where it was not widened.
        size_bytes: of its file; None where the study does not tell.
    """

    name: str
    weight_bits: str
    activation_bits: str
    width: str
    size_bytes: int | None


def plan_rows(
    plan: Plan, sizes: Mapping[str, int], weights: Mapping[str, float], most: int = MOST_ROWS
) -> tuple[PlanRow, ...]:
    """The largest layers of a plan in the order of the model, then the rest in one row.

    Args:
        plan: bits and widths of every layer.
        sizes: bytes of each layer in the file of the plan; empty where the study does not tell.
        weights: how large layers are, where there are no sizes.
        most: layers that have a row of their own.
    """
    known = sizes or weights
    largest = sorted(plan.choices, key=lambda name: -known.get(name, 0.0))[:most]
    kept = set(largest)
    rows = [
        PlanRow(shorten(name), *choice_texts(choice), sizes.get(name))
        for name, choice in plan.choices.items()
        if name in kept
    ]
    rest = {name: choice for name, choice in plan.choices.items() if name not in kept}
    if rest:
        rows.append(_rest(rest, sizes))
    return tuple(rows)


def choice_texts(choice: LayerChoice) -> tuple[str, str, str]:
    """Weight bits, activation bits and width for people.

    Args:
        choice: of a layer.

    >>> choice_texts(LayerChoice(3, 8, 1.5, recurrent_bits=4, hidden_bits=8))
    ('3 / 4', '8 / 8', 'x1.5')
    >>> choice_texts(LayerChoice(4, 32))
    ('4', 'float', '')
    """
    weights, inputs = format_bits(choice.weight_bits), format_bits(choice.activation_bits)
    if choice.recurrent_bits is not None:
        weights += f" / {format_bits(choice.recurrent_bits)}"
    if choice.hidden_bits is not None:
        inputs += f" / {format_bits(choice.hidden_bits)}"
    return weights, inputs, "" if choice.width == 1 else format_width(choice.width)


def format_bits(bits: float) -> str:
    """Bits for people.

    Args:
        bits: of a weight or an activation.
    """
    return "float" if bits == 32 else f"{bits:g}"


def _rest(choices: Mapping[str, LayerChoice], sizes: Mapping[str, int]) -> PlanRow:
    """The smaller layers in one row: the ranges of their bits, the sum of their bytes."""

    def span(values: Iterable[Any], text: Callable[[Any], str]) -> str:
        ordered = sorted(set(values))
        ends = dict.fromkeys(map(text, (ordered[0], ordered[-1])))
        return " to ".join(ends)

    every = choices.values()
    widths = [choice.width for choice in every]
    return PlanRow(
        name=f"{len(choices)} smaller layers",
        weight_bits=span((choice.weight_bits for choice in every), format_bits),
        activation_bits=span((choice.activation_bits for choice in every), format_bits),
        width="" if set(widths) == {1.0} else span(widths, format_width),
        size_bytes=sum(sizes.get(name, 0) for name in choices) if sizes else None,
    )
