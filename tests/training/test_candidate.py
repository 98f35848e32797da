"""One plan, trained from the float baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autoquant.errors import Diverged, UserError
from autoquant.plan import LayerChoice
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Search, Training, Widening
from autoquant.training.candidate import StartingPoint, train_candidate
from autoquant.training.scoring import score
from tests.toys import language_task, plan_of, prepared

TASK = language_task(10, 400, batch_size=50, length=4, probe_tokens=50, embedding=4, hidden=8)
TRAINING = Training(steps=4, scores=1)


@pytest.fixture
def starting_point() -> StartingPoint:
    torch.manual_seed(0)
    model, network = prepared(TASK.build_model())
    return StartingPoint(TASK, model, network, Search(seed=5))


def train(
    starting_point: StartingPoint, choice: LayerChoice, training: Training = TRAINING, **more: Any
) -> Any:
    widths = more.pop("widths", {})
    plan = plan_of(starting_point.network, choice, **widths)
    return train_candidate(starting_point, plan, training, label="toy", **more)


def test_it_is_quantized_trained_and_scored(starting_point: StartingPoint) -> None:
    candidate = train(starting_point, LayerChoice(3, 4))
    assert candidate.run.steps == 4
    assert candidate.score == score(candidate.model, TASK, "valid")
    weights = [m for m in candidate.model.modules() if isinstance(m, WeightQuantizer)]
    activations = [m for m in candidate.model.modules() if isinstance(m, ActivationQuantizer)]
    assert (len(weights), len(activations)) == (6, 3)  # biases too


def test_the_float_model_stays_as_it_was(starting_point: StartingPoint) -> None:
    before = {name: value.clone() for name, value in starting_point.model.state_dict().items()}
    train(starting_point, LayerChoice(2, 4), widths={"rnn__l0": 1.5})
    after = starting_point.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("widths", [{}, {"rnn__l0": 1.5}], ids=["as wide", "wider"])
def test_the_same_plan_twice(widths: dict[str, float], starting_point: StartingPoint) -> None:
    one, other = (train(starting_point, LayerChoice(3, 4), widths=widths) for _ in range(2))
    assert one.score == other.score
    states = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_seed_of_the_settings_counts(starting_point: StartingPoint) -> None:
    wide = {"rnn__l0": 1.5}
    other = replace(starting_point, settings=replace(starting_point.settings, seed=6))
    assert train(starting_point, LayerChoice(3, 4), widths=wide).score != (
        train(other, LayerChoice(3, 4), widths=wide).score
    )


@pytest.mark.parametrize("method", ["split", "fresh"])
def test_wider_models_are_wider(method: str, starting_point: StartingPoint) -> None:
    starting_point = replace(
        starting_point, settings=replace(starting_point.settings, widening=Widening(method=method))
    )
    candidate = train(starting_point, LayerChoice(4, 8), widths={"rnn__l0": 1.5})
    assert candidate.model.get_submodule("decoder").weight.shape[1] == 12


def test_more_bits_are_nearer_to_the_float_model(starting_point: StartingPoint) -> None:
    exact = score(starting_point.model, TASK, "valid")
    barely = Training(steps=1, lr=1e-9, scale_lr=0.0)
    gaps = [
        abs(train(starting_point, LayerChoice(bits, 8), barely).score - exact) for bits in (1, 4, 8)
    ]
    assert gaps[0] > gaps[1] > gaps[2]


def test_intermediate_scores_are_reported(starting_point: StartingPoint) -> None:
    seen: list[tuple[int, float]] = []
    candidate = train(
        starting_point,
        LayerChoice(4, 8),
        Training(steps=6, scores=2),
        on_score=lambda step, value: seen.append((step, value)),
    )
    assert [step for step, _ in seen] == [2, 4]
    assert candidate.run.scores == seen


def test_what_on_score_raises_ends_the_run(starting_point: StartingPoint) -> None:
    def stop(step: int, value: float) -> None:
        raise Diverged("enough")

    with pytest.raises(Diverged, match="enough"):
        train(starting_point, LayerChoice(4, 8), on_score=stop)


@pytest.mark.parametrize(
    ("widths", "words"),
    [({"decoder": 1.5}, "decoder must be 1.0"), ({"rnn__l9": 1.0}, "rnn.l9")],
    ids=["frozen", "unknown"],
)
def test_plans_that_do_not_fit(
    widths: dict[str, float], words: str, starting_point: StartingPoint
) -> None:
    if "rnn__l9" in widths:
        plan = plan_of(starting_point.network)
        plan = type(plan)({**plan.choices, "rnn.l9": LayerChoice()})
    else:
        plan = plan_of(starting_point.network, None, **widths)
    with pytest.raises(UserError, match=words):
        train_candidate(starting_point, plan, TRAINING, label="toy")


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_a_final_score_that_is_not_finite(
    value: float, starting_point: StartingPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TASK, "score", lambda model, split: value if split == "valid" else 1.0)
    with pytest.raises(Diverged, match="perplexity must be finite"):
        train(starting_point, LayerChoice(4, 8))


def test_from_scratch_scales_follow_the_weights(starting_point: StartingPoint) -> None:
    """A hidden state that hardly moved at first is not held to where it was."""
    training = Training(steps=64, lr=3e-2, scores=0)

    def reach(start: StartingPoint) -> float:
        model = train(start, LayerChoice(4, 4), training).model
        return 7 * float(model.rnn.l0.hidden_quantizer.scale().detach())

    assert reach(starting_point.from_scratch(0)) > 2 * reach(starting_point)


def test_a_start_from_scratch_is_the_float_model_before_training(
    starting_point: StartingPoint,
) -> None:
    first, same, other = (starting_point.from_scratch(seed) for seed in (3, 3, 4))
    assert not first.trained
    assert first.settings == replace(starting_point.settings, seed=3)
    weights = [each.model.decoder.weight for each in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    torch.manual_seed(3)
    assert torch.equal(weights[0], TASK.build_model().decoder.weight)
