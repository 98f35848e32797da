"""Limits: what a plan may cost beside its size."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real

from autoquant.budget import Budget, setting_of
from autoquant.settings.base import Settings
from autoquant.settings.checks import require


@dataclass(frozen=True)
class Limits(Settings):
    """Largest costs of a plan beside its size (see budget); every plan meets all before training.

    Each is a text, relative to the float model (0.5x) or absolute; None sets no limit. All costs
    are those of one position: a token, a frame, a sample.

    Attributes:
        activation_memory: Layer inputs and hidden states that are read: 0.5x, 300kB or 1.5MiB.
        peak_memory: Input, hidden states and outputs of the layer with most of them: 0.5x, 300kB
            or 1.5MiB.
        bit_ops: Multiply-accumulates times the bits of both factors: 0.05x, 40M or 2G. Weights and
            activations of 8 bits have 0.0625x of float's.
        macs: Multiply-accumulates: 1.2x, 40M or 2G; at least 1.0x, since widths only grow.
        latency: Time of the layers, measured one by one with the packed kernels of this machine on
            one thread: 0.5x (of float), 800us or 2.5ms.
    """

    activation_memory: str | None = None
    peak_memory: str | None = None
    bit_ops: str | None = None
    macs: str | None = None
    latency: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                object.__setattr__(self, each.name, _checked(each.name, value))

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The limits that are set, in the order of the fields."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return tuple(Budget.parse(text, cost) for cost, text in values if text is not None)


def _checked(cost: str, value: object) -> str:
    """A limit as a text that ``Budget.parse`` reads.

    Args:
        cost: its name.
        value: of the setting; a Budget of this cost is taken too, and a whole number of operations.
    """
    name = setting_of(cost)
    if isinstance(value, Budget) and value.cost == cost:
        value = str(value)
    if type(value) is int and cost in ("bit_ops", "macs"):
        value = str(value)
    share = 0.0 if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    proposed = f"{cost}='{share:.15g}x'" if 0 < share <= 1 else ""
    require(isinstance(value, str), f"{name} must be a text such as '0.5x'", value, proposed)
    budget = Budget.parse(str(value), cost)
    grows = cost != "macs" or budget.unit != "x" or budget.amount >= 1
    require(grows, f"{name} must be at least 1.0x, since widths only grow", value)
    return str(value)
