"""Rules by name, held against a network: which choices they leave each of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from autoquant.errors import UserError, near
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.settings import Rules

NO_GROWTH = (1.0,)  # widths of a layer that does not grow
DEFAULTS_TO = {"recurrent_bits": "weight_bits", "hidden_bits": "activation_bits"}


@dataclass(frozen=True)
class LayerOverride:
    """What the last rule that names a field of a layer says.

    Attributes:
        pattern: the rule's pattern.
        choices: rising.
    """

    pattern: str
    choices: tuple[float, ...]


LayerOverrides = Mapping[str, Mapping[str, LayerOverride]]
"""By layer and field."""


def resolve(network: Network, rules: Rules) -> LayerOverrides:
    """The rulings of every layer.

    Of several rules that match a layer and name a field, the last one counts. A width holds for all
    layers that share their units, the bits of a weight for all that share it.

    Raises:
        UserError: a rule matches no layer, or none that has what it names; a layer cannot have the
            widths of its rule; two rules want different choices for what layers share.
    """
    found: dict[str, dict[str, LayerOverride]] = {name: {} for name in network.names}
    for pattern, choices in rules.items():
        matched = [layer for layer in network.layers if fnmatchcase(layer.name, pattern)]
        _refuse_unmatched(pattern, matched, network)
        for field, values in choices.items():
            having = [layer for layer in matched if has(layer, field)]
            if not having:
                kinds = ", ".join(f"{layer.name} ({layer.kind})" for layer in matched)
                raise UserError(
                    f"rules.{pattern}.{field} must match a layer that has {field}, got {kinds}"
                )
            for layer in having:
                found[layer.name][field] = LayerOverride(pattern, values)
    _refuse_widths(network, found)
    _share("width", "units", network.groups, found)
    _share("weight_bits", "weight", network.shares, found)
    return found


def has(layer: LayerSpec, field: str) -> bool:
    """Whether a field of a choice means something for a layer."""
    if field in DEFAULTS_TO:
        return layer.recurrent
    return layer.multiplies or field != "activation_bits"


def _refuse_unmatched(pattern: str, matched: list[LayerSpec], network: Network) -> None:
    if not matched:
        raise UserError(
            "rules must match layers of the model, "
            f"got {pattern!r} (near: {near(pattern, network.names)})"
        )


def _refuse_widths(network: Network, found: Mapping[str, Mapping[str, LayerOverride]]) -> None:
    for name, ruled in found.items():
        reason = network.why_fixed(name)
        if reason is not None and "width" in ruled and ruled["width"].choices != NO_GROWTH:
            raise UserError(
                f"rules.{ruled['width'].pattern}.width must be 1.0 for {name} ({reason}), "
                f"got {_shown(ruled['width'])}"
            )


def _share(
    field: str, what: str, owners: Mapping[str, str], found: dict[str, dict[str, LayerOverride]]
) -> None:
    """Give what is said of one layer to all that have the same owner."""
    first: dict[str, str] = {}  # of each owner, the first layer that a rule names
    for name, ruled in found.items():
        if field in ruled:
            other = first.setdefault(owners.get(name, name), name)
            if found[other][field].choices != ruled[field].choices:
                raise UserError(
                    f"rules must give layers that share their {what} one {field}: {other} has "
                    f"{_shown(found[other][field])}, {name} has {_shown(ruled[field])}"
                )
    for name, ruled in found.items():
        owner = owners.get(name, name)
        if owner in first:
            ruled[field] = found[first[owner]][field]


def _shown(ruling: LayerOverride) -> str:
    return f"[{', '.join(f'{value:g}' for value in ruling.choices)}] (rules.{ruling.pattern})"
