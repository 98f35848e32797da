from __future__ import annotations

import pytest
import torch

from autoquant.costs.paper_size_ratio import paper_size_ratio
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests import toys
from tests.toys import described, plan_of, treebank


def test_paper_size_ratio_is_the_papers() -> None:
    """4 bits are 12.5%, and 18.75% with half as many neurons again, whatever the layers."""
    network = treebank()
    plan = Plan.uniform(network.names, LayerChoice(weight_bits=4))
    assert paper_size_ratio.of(network, plan, Scheme()) == pytest.approx(0.125, rel=1e-12)
    total = sum(layer.count for layer in network.layers)
    for layer in network.layers:
        if network.why_fixed(layer.name) is None:
            grown = plan_of(network, LayerChoice(weight_bits=4)).with_choice(layer.name, width=1.5)
            expected = (0.125 * (total - layer.count) + 0.1875 * layer.count) / total
            ratio = paper_size_ratio.of(network, grown, Scheme())
            assert ratio == pytest.approx(expected, rel=1e-12)


def test_paper_size_ratio_weighs_by_parameters() -> None:
    """Deep Speech with 4-bit layers 1, 2 and 5, grown by half: sums of the table's shares."""
    with torch.device("meta"):
        model = prepare(toys.DeepSpeech(494, 2048, 4096, 29))
    network = described(model)
    assert network.parameters == 122_732_573
    plan = plan_of(network)
    for name in ("fc1", "fc2", "fc5"):
        plan = plan.with_choice(name, weight_bits=4, width=1.5)
    grown = 1_013_760 + 4_196_352 + 8_390_656
    by_hand = (network.parameters - grown * (1 - 4 / 32 * 1.5)) / network.parameters
    assert paper_size_ratio.of(network, plan, Scheme()) == pytest.approx(by_hand, rel=1e-12)
