"""A space of two parameters, and samplers for it."""

from __future__ import annotations

from typing import Any

from optuna.distributions import IntDistribution
from optuna.samplers import RandomSampler

from autoquant.plan import LayerChoice, Plan
from autoquant.study.asking_study import NoPlanLeft
from autoquant.study.parameters import Indices, Parameters, Ranges

BITS = (1, 2, 3, 4, 8)
LAYERS = ("rnn.l0", "decoder")
RANGES = Ranges({f"{layer}.weight_bits": IntDistribution(0, 4) for layer in LAYERS})
REFERENCE = Plan({"rnn.l0": LayerChoice(4, 8, 1.5, 2, 4), "decoder": LayerChoice(3, 8)})
"""Not in the space."""


def plan_of(indices: Indices) -> Plan:
    pairs = zip(LAYERS, indices, strict=True)
    return Plan({layer: LayerChoice(BITS[index], 8) for layer, index in pairs})


def indices_of(plan: Plan) -> Indices | None:
    if plan == REFERENCE:
        return None
    return tuple(BITS.index(int(plan[layer].weight_bits)) for layer in LAYERS)


def readable(indices: Indices) -> dict[str, str]:
    return {name: f"{BITS[i]} bits" for name, i in zip(RANGES, indices, strict=True)}


PARAMETERS = Parameters(RANGES, plan_of, indices_of, readable)


class Nothing(RandomSampler):
    """Has no plan left."""

    def infer_relative_search_space(self, *args: Any) -> Any:
        raise NoPlanLeft
