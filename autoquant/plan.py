"""Plan: weight bits, activation bits and width of every layer; the other parts exchange plans."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoquant.errors import MAX_SHOWN, UserError, near, shortened, shown
from autoquant.reading import UnreadableError, read_file
from autoquant.table import Column, Table, Tabular

Bits = int | float
"""Bits of a weight: whole numbers, and TERNARY."""

TERNARY = 1.6
"""Three levels, -1, 0 and 1: five codes to a byte."""

WEIGHT_BITS: tuple[Bits, ...] = (1, TERNARY, 2, 3, 4, 5, 6, 7, 8, 16, 32)
ACTIVATION_BITS = (2, 3, 4, 5, 6, 7, 8, 16, 32)
WIDEST = 16.0

WEIGHT_FIELDS = ("weight_bits", "recurrent_bits")
"""Fields of a LayerChoice that are bits of weights."""
BITS_FIELDS = (*WEIGHT_FIELDS, "activation_bits", "hidden_bits")
"""Fields of a LayerChoice that are bits."""


@dataclass(frozen=True)
class LayerChoice:
    """What a plan decides for one layer.

    Attributes:
        weight_bits: bits of a weight: 1-8 integer codes (1.6: three levels), 16 half precision,
            32 as it was.
        activation_bits: bits of the layer's input: 2-8, 16 or 32.
        width: neuron multiplier of the layer's output units; 1.0 leaves them as they were.
        recurrent_bits: bits of recurrent weights; None takes ``weight_bits``.
        hidden_bits: bits of the hidden state; None takes ``activation_bits``.
    """

    weight_bits: Bits = 32
    activation_bits: int = 32
    width: float = 1.0
    recurrent_bits: Bits | None = None
    hidden_bits: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            bits = getattr(self, name)
            if bits is None and name in ("recurrent_bits", "hidden_bits"):
                continue
            if (type(bits) is not int and bits != TERNARY) or bits not in allowed:
                raise UserError(f"{name} must be one of {_listed(allowed)}, got {shown(bits)}")
        if isinstance(self.width, bool) or not isinstance(self.width, int | float):
            raise UserError(f"width must be a number, got {shown(self.width)}")
        if not 1.0 <= self.width <= WIDEST:
            raise UserError(f"width must be in [1, {WIDEST:g}], got {shown(self.width)}")

    def bits_of(self, role: str) -> Bits:
        """Bits of some of the layer's weights.

        Args:
            role: "weight" for the weights that read the layer's input, "recurrent" for those that
                read its hidden state.
        """
        if role == "recurrent" and self.recurrent_bits is not None:
            return self.recurrent_bits
        return self.weight_bits

    def bits_in(self, field: str) -> Bits:
        """The bits that a field stands for, also where it is None.

        Args:
            field: one of BITS_FIELDS.
        """
        if field == "recurrent_bits":
            return self.bits_of("recurrent")
        return self.state_bits if field == "hidden_bits" else getattr(self, field)

    @property
    def state_bits(self) -> int:
        """Bits of the hidden state."""
        return self.activation_bits if self.hidden_bits is None else self.hidden_bits


_ALLOWED: dict[str, tuple[Bits, ...]] = {
    "weight_bits": WEIGHT_BITS,
    "activation_bits": ACTIVATION_BITS,
    "recurrent_bits": WEIGHT_BITS,
    "hidden_bits": ACTIVATION_BITS,
}


_TABLE_FIELDS = ("weight_bits", "recurrent_bits", "activation_bits", "hidden_bits", "width")
_FIELD_NAMES = tuple(each.name for each in fields(LayerChoice))


def _cell(name: str, value: float | None) -> str:
    """A field of a LayerChoice in a table; empty where the layer has no such choice."""
    if value is None:
        return ""
    return f"x{value:g}" if name == "width" else f"{value:g}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


@dataclass(frozen=True)
class Plan(Tabular):
    """One choice for every quantizable layer, by the layer's name.

    Attributes:
        choices: by the layers' names, in the order of the model; copied, and read-only.

    >>> plan = Plan({"rnn.l0": LayerChoice(4, 8, 1.5), "decoder": LayerChoice(4, 8)})
    >>> plan["rnn.l0"].width
    1.5
    """

    choices: Mapping[str, LayerChoice]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", MappingProxyType(dict(self.choices)))

    @classmethod
    def uniform(cls, layers: Iterable[str], choice: LayerChoice) -> Plan:
        """The same choice for every layer.

        Args:
            layers: names of all quantizable layers, in the order of the model.
            choice: the choice of each of them.
        """
        return cls(dict.fromkeys(layers, choice))

    def __getitem__(self, layer: str) -> LayerChoice:
        return self.choices[layer]

    def __hash__(self) -> int:
        return hash(frozenset(self.choices.items()))

    def __reduce__(self) -> Any:
        return Plan, (dict(self.choices),)

    @property
    def tables(self) -> tuple[Table, ...]:
        """One row a layer, in the order of the model."""
        columns = [
            name
            for name in _TABLE_FIELDS
            if any(getattr(choice, name) is not None for choice in self.choices.values())
        ]
        headings = (Column(name.replace("_", " ")) for name in columns)
        rows = (
            (layer, *(_cell(name, getattr(choice, name)) for name in columns))
            for layer, choice in self.choices.items()
        )
        return (Table(f"plan {self.digest}", (Column("layer", "left"), *headings), tuple(rows)),)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that tell the plan from others, for the names of files."""
        return self.fingerprint[:8]

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell the plan from millions of others."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:16]

    @property
    def summary(self) -> str:
        """Its digest and its first layers on one line, for messages."""
        layers = [
            f"{layer} {choice.weight_bits}/{choice.activation_bits} bits x{choice.width:g}"
            for layer, choice in self.choices.items()
        ]
        return shortened(f"plan {self.digest} ({', '.join(layers)})", MAX_SHOWN)

    def has_weight_bits(self, bits: float | None) -> bool:
        """Whether all weights have these bits, recurrent ones too.

        Args:
            bits: in question; None is what no weight has.
        """
        return all(
            choice.bits_in(field) == bits
            for choice in self.choices.values()
            for field in WEIGHT_FIELDS
        )

    def with_choice(self, layer: str, **changes: Any) -> Plan:
        """The same plan with one layer's choice changed.

        Args:
            layer: the name of a layer of the plan.
            changes: fields of its LayerChoice, and their new values.

        Raises:
            KeyError: the plan has no such layer.
            UserError: a value is not allowed.
        """
        return Plan({**self.choices, layer: replace(self.choices[layer], **changes)})

    def check(self, layers: Iterable[str]) -> None:
        """Raise a UserError unless the plan names exactly these layers.

        Args:
            layers: names of all quantizable layers of a model.

        Raises:
            UserError: the plan names another layer, or leaves one out.
        """
        expected = dict.fromkeys(layers)
        for name in self.choices:
            if name not in expected:
                raise UserError(
                    "a plan must name layers of the model, "
                    f"got {shown(name)} (near: {near(name, expected)})"
                )
        missing = [name for name in expected if name not in self.choices]
        if missing:
            raise UserError(f"a plan must name every layer, missing: {_listed(missing)}")

    # --- its YAML form; imported where it is used, since a packed file is loaded without ----------

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values; fields that are None are left out."""
        return {
            layer: {
                name: value for name in _FIELD_NAMES if (value := getattr(choice, name)) is not None
            }
            for layer, choice in self.choices.items()
        }

    @classmethod
    def from_dict(cls, data: Any, source: str = "a plan") -> Plan:
        """The inverse of to_dict.

        Args:
            data: a mapping from layer names to mappings from fields of LayerChoice to values.
            source: what errors call the input, such as "plan 'mine.yaml'".

        Raises:
            UserError: the data has another shape, an unknown field or a value that is not allowed.
        """
        if not isinstance(data, Mapping) or not data:
            raise UserError(f"{source} must map layer names to choices, got {shown(data)}")
        return cls({str(name): _read_choice(name, value, source) for name, value in data.items()})

    def to_yaml(self) -> str:
        """One line a layer, in the order of the model."""
        from autoquant.yaml_text import as_key

        lines = ["layers:"]
        for layer, choice in self.to_dict().items():
            values = ", ".join(f"{key}: {value}" for key, value in choice.items())
            lines.append(f"  {as_key(layer)}: {{{values}}}")
        return "\n".join(lines) + "\n"

    @classmethod
    def from_yaml(cls, text: str | bytes, source: str = "a plan") -> Plan:
        """Read what to_yaml wrote, edited by a person or not.

        Args:
            text: YAML with a mapping ``layers``.
            source: what errors call the input.

        Raises:
            UserError: the text is no YAML or holds no plan.
        """
        from autoquant.yaml_text import read_yaml

        try:
            data = read_yaml(text)
        except UnreadableError as error:
            raise UserError(f"{source} must be valid YAML, got {error}") from error
        if not isinstance(data, Mapping) or "layers" not in data:
            raise UserError(f"{source} must have a 'layers' mapping, got {_kind(data)}")
        return cls.from_dict(data["layers"], source)

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan file.

        Args:
            path: an existing YAML file.

        Raises:
            UserError: there is no such file, or it holds no plan.
        """
        from autoquant.yaml_text import MAX_YAML_BYTES

        if not isinstance(path, str | Path):
            raise UserError(f"plan must be the path of a YAML file, got {shown(path)}")
        if not Path(path).is_file():
            raise UserError(f"plan must be an existing YAML file, got '{path}'")
        try:
            text = read_file(Path(path), MAX_YAML_BYTES)
        except UnreadableError as error:
            raise UserError(f"plan '{path}' must be a plan, got {error}") from error
        return cls.from_yaml(text, f"plan '{path}'")


def _kind(data: Any) -> str:
    return "an empty file" if data is None else f"a {type(data).__name__}"


def _read_choice(layer: Any, value: Any, source: str) -> LayerChoice:
    """One layer's choice.

    Args:
        layer: its name, for errors.
        value: a mapping from fields of LayerChoice to values.
        source: what errors call the input.
    """
    known = {f.name for f in fields(LayerChoice)}
    if not isinstance(value, Mapping):
        raise UserError(f"{source}, layer {layer}: must be a mapping, got {shown(value)}")
    for key in value:
        if key not in known:
            raise UserError(
                f"{source}, layer {layer}: keys must be among {_listed(sorted(known))}, "
                f"got {shown(key)}"
            )
    try:
        return LayerChoice(**value)
    except UserError as error:
        raise UserError(f"{source}, layer {layer}: {error}") from error
