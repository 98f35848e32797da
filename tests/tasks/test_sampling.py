"""The sampled loss against the full one, and against its definition, written out."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.layers.linear import IntegerLinear
from autoquant.plan import LayerChoice
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Scheme
from autoquant.tasks.language import IGNORED, LanguageTask
from autoquant.tasks.sampling import Sample, WordSampler
from tests.tasks.test_language import corpus

COUNTS = torch.tensor([1000, 500, 300, 100, 50, 20, 10, 5, 2, 1, 0, 0])


@pytest.mark.parametrize("size", [1, 3, 8, 11])
def test_inclusion_probabilities_add_up_to_the_size_and_fall_with_frequency(size):
    probabilities = WordSampler(COUNTS, size).probabilities
    assert float(probabilities.sum()) == pytest.approx(size, rel=1e-4)
    assert bool((probabilities[:-1] >= probabilities[1:]).all())
    assert float(probabilities.max()) <= 1
    assert float(probabilities.min()) > 0


@pytest.mark.parametrize("size", [0, 12, 13, -1])
def test_a_size_outside_the_vocabulary_is_refused(size):
    with pytest.raises(UserError, match="sampled must be from 1 to below the vocabulary's 12"):
        WordSampler(COUNTS, size)


def test_targets_are_always_there():
    targets = torch.tensor([11, 10, IGNORED, 9])
    sample = WordSampler(COUNTS, 3).draw(targets)
    assert {9, 10, 11} <= set(sample.words.tolist())
    assert sample.positions[sample.words].tolist() == list(range(len(sample.words)))


def estimate(sample: Sample, logits, targets):
    """The sampled loss where all logits are at hand."""
    places = sample.positions_of(targets, IGNORED)
    shifted = sample.corrected(logits[:, sample.words], places)
    return F.cross_entropy(shifted, places, ignore_index=IGNORED)


def by_definition(logits, sample: Sample, probabilities, drawn, targets) -> float:
    """Mean of -z_t + log(exp z_t + sum of exp z_w / p_w), a word after the other."""
    total, count = 0.0, 0
    for row, target in enumerate(targets.tolist()):
        if target == IGNORED:
            continue
        own = float(logits[row, target])
        z = math.exp(own)
        for word in drawn:
            if word != target:
                z += math.exp(float(logits[row, word])) / float(probabilities[word])
        total, count = total + math.log(z) - own, count + 1
    return total / count


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_its_definition(seed):
    torch.manual_seed(seed)
    sampler = WordSampler(COUNTS, 4)
    logits = torch.randn(6, 12, dtype=torch.float64)
    targets = torch.tensor([0, 11, IGNORED, 3, 7, 7])
    sample = sampler.draw(targets)
    drawn = sample.words[sample.corrections > -1e3].tolist()
    expected = by_definition(logits, sample, sampler.probabilities, drawn, targets)
    loss = estimate(sample, logits, targets)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_the_estimate_of_the_denominator_is_without_bias():
    torch.manual_seed(0)
    sampler = WordSampler(COUNTS, 5)
    logits, targets = torch.randn(3, 12, dtype=torch.float64), torch.tensor([1, 8, 11])
    own = logits.gather(1, targets[:, None]).squeeze(1)
    estimates = []
    for _ in range(4000):
        sample = sampler.draw(targets)
        losses = [estimate(sample, logits[i : i + 1], targets[i : i + 1]) for i in range(3)]
        estimates.append((torch.stack(losses) + own).exp())
    drawn = torch.stack(estimates)
    standard_error = drawn.std(0) / math.sqrt(len(drawn))
    assert bool(((drawn.mean(0) - logits.exp().sum(1)).abs() < 4 * standard_error + 1e-9).all())


@pytest.mark.parametrize("bits", [None, 1, 4])
def test_some_outputs_are_rows_of_all_outputs(bits):
    torch.manual_seed(1)
    layer = IntegerLinear(7, 12)
    if bits:
        quantizer = WeightQuantizer(layer.weight, bits, Scheme())
        nn.utils.parametrize.register_parametrization(layer, "weight", quantizer)
    units, inputs = torch.tensor([0, 3, 11]), torch.randn(2, 4, 7)
    torch.testing.assert_close(layer(inputs, units), layer(inputs)[..., units])


def test_a_task_trains_on_the_sample_and_scores_on_all_words():
    full, sampled = (
        LanguageTask(corpus(), 4, 9, hidden=6),
        LanguageTask(corpus(), 4, 9, sampled=60, hidden=6),
    )
    torch.manual_seed(0)
    model = full.build_model().eval()
    assert sampled.score(model, "valid") == full.score(model, "valid")
    batch = next(full.batches(0))
    exact = full.loss(model, batch, None)[0].item()
    assert sampled.loss(model, batch, None)[0].item() == exact
    model.train()
    model.dropout.p = 0.0
    losses = [sampled.loss(model, batch, None)[0].item() for _ in range(200)]
    assert len(set(losses)) > 100
    assert sum(losses) / 200 == pytest.approx(exact, rel=0.02)


def test_a_quantized_decoder_takes_a_sample():
    task = LanguageTask(corpus(), 4, 9, sampled=60, embedding=5, hidden=6)
    from autoquant.graph.describe import describe
    from autoquant.graph.prepare import prepare
    from autoquant.plan import Plan
    from autoquant.training.qat import build_candidate

    model = prepare(task.build_model())
    network = describe(model, task.example().inputs)
    plan = Plan({layer.name: LayerChoice(4, 8) for layer in network.layers})
    candidate = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
    candidate.train()
    loss, _ = task.loss(candidate, next(task.batches(0)), None)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(p.grad is not None for p in candidate.parameters() if p.requires_grad)


def test_one_sample_is_what_softmax_gives_where_every_word_is_certain():
    logits, targets = torch.randn(4, 12), torch.tensor([1, 2, 3, 4])
    sample = Sample(torch.arange(12), torch.zeros(12), torch.arange(12))
    torch.testing.assert_close(estimate(sample, logits, targets), F.cross_entropy(logits, targets))
