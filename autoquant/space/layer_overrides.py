"""Choices by layer name: what the rules of the settings leave each layer of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from autoquant.errors import UserError, near, shown
from autoquant.graph.network import Network
from autoquant.layers import LayerSpec
from autoquant.settings import Rules

NO_GROWTH = (1.0,)  # widths of a layer that does not grow
DEFAULTS_TO = {"recurrent_bits": "weight_bits", "hidden_bits": "activation_bits"}


@dataclass(frozen=True)
class LayerOverride:
    """The choices that a rule gives to one field of a layer.

    Attributes:
        pattern: of the rule, which matched the layer's name.
        choices: in rising order.
    """

    pattern: str
    choices: tuple[float, ...]


LayerOverrides = Mapping[str, Mapping[str, LayerOverride]]
"""By layer and by field of LayerChoice; fields without a rule are left out."""


def resolve_overrides(network: Network, rules: Rules) -> LayerOverrides:
    """The overrides of every layer.

    Of several rules that match a layer and name a field, the last one counts. A width applies to
    all layers that share their units, the bits of a weight to all that share it.

    Args:
        network: whose layers the patterns match.
        rules: see settings.Search.rules.

    Raises:
        UserError: a rule matches no layer, or none that has what it names; a layer cannot have the
            widths of its rule; two rules give different choices to what layers share.
    """
    overrides: dict[str, dict[str, LayerOverride]] = {name: {} for name in network.names}
    for pattern, choices in rules.items():
        matched = [layer for layer in network.layers if fnmatchcase(layer.name, pattern)]
        _refuse_unmatched(pattern, matched, network)
        for field, values in choices.items():
            for layer in _with_field(pattern, field, matched):
                overrides[layer.name][field] = LayerOverride(pattern, values)
    _refuse_widths(network, overrides)
    _share("width", "units", network.groups, overrides)
    _share("weight_bits", "weight", network.shares, overrides)
    return overrides


def has_field(layer: LayerSpec, field: str) -> bool:
    """Whether a field of LayerChoice has an effect on a layer.

    Args:
        layer: of a network.
        field: of LayerChoice.
    """
    if field in DEFAULTS_TO:
        return layer.recurrent
    return layer.multiplies or field != "activation_bits"


def _with_field(pattern: str, field: str, matched: list[LayerSpec]) -> list[LayerSpec]:
    """The matched layers that have a field; a UserError where none has.

    Args:
        pattern: of the rule, for errors.
        field: of LayerChoice.
        matched: the layers that the pattern matches.
    """
    layers = [layer for layer in matched if has_field(layer, field)]
    if not layers:
        kinds = ", ".join(f"{layer.name} ({layer.kind})" for layer in matched)
        raise UserError(f"rules.{pattern}.{field} must match a layer that has {field}, got {kinds}")
    return layers


def _refuse_unmatched(pattern: str, matched: list[LayerSpec], network: Network) -> None:
    """Raise a UserError for a pattern that matches no layer.

    Args:
        pattern: of the rule.
        matched: the layers that it matches.
        network: of all layers, for errors.
    """
    if not matched:
        raise UserError(
            "rules must match layers of the model, "
            f"got {shown(pattern)} (near: {near(pattern, network.names)})"
        )


def _refuse_widths(network: Network, overrides: LayerOverrides) -> None:
    """Raise a UserError where a rule lets a layer grow that cannot."""
    for name, by_field in overrides.items():
        reason = network.why_fixed(name)
        if reason is not None and "width" in by_field and by_field["width"].choices != NO_GROWTH:
            raise UserError(
                f"rules.{by_field['width'].pattern}.width must be 1.0 for {name} ({reason}), "
                f"got {_shown(by_field['width'])}"
            )


def _share(
    field: str, what: str, owners: Mapping[str, str], overrides: dict[str, dict[str, LayerOverride]]
) -> None:
    """Copy the override of one layer to all layers with the same owner.

    Args:
        field: of LayerChoice.
        what: what the layers share, for errors.
        owners: by layer, the layer whose field counts; a layer that is left out is its own.
        overrides: by layer and field; the field is added.
    """
    first: dict[str, str] = {}  # by owner, the first layer with an override
    for name, by_field in overrides.items():
        if field not in by_field:
            continue
        earlier = first.setdefault(owners.get(name, name), name)
        if overrides[earlier][field].choices != by_field[field].choices:
            raise UserError(
                f"rules must give layers that share their {what} one {field}: {earlier} has "
                f"{_shown(overrides[earlier][field])}, {name} has {_shown(by_field[field])}"
            )
    for name, by_field in overrides.items():
        owner = owners.get(name, name)
        if owner in first:
            by_field[field] = overrides[first[owner]][field]


def _shown(override: LayerOverride) -> str:
    choices = ", ".join(f"{value:g}" for value in override.choices)
    return f"[{choices}] (rules.{override.pattern})"
