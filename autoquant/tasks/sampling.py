"""Cross-entropy over a sample of the vocabulary: training steps that skip most of the decoder.

The sum over all words in softmax's denominator is estimated without bias from a sample S that holds
word w with probability p(w), independently of other words (Horvitz-Thompson; the idea of Jean et
al. 2015, "On Using Very Large Target Vocabulary", section 3.1):

    Z = exp(z_t) + sum of exp(z_w) / p(w) over w in S other than the target t

p(w) grows with the word's frequency, so that frequent words, which make up nearly all of Z, are
always in the sample, and only rare words are left to chance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.errors import UserError

FREQUENCY_EXPONENT = 0.75
"""p(w) ~ frequency ** 0.75: below 1, so that 1 / p(w) of rare words is not too large."""
EXCLUDED = -1e4
"""Added to a logit that must not count: exp of it is 0, in half precision too."""
BISECTION_STEPS = 100


def check_sampled(size: int, words: int) -> None:
    """Raise a UserError unless samples of a size are smaller than the vocabulary.

    Args:
        size: mean number of words in a sample.
        words: of the vocabulary, V.

    Raises:
        UserError: the size is not from 1 to V - 1.
    """
    if not 0 < size < words:
        vocabulary = f"the vocabulary's {words} words"
        requirement = f"sampled must be from 1 to below {vocabulary}, or 0 for all of them"
        raise UserError(f"{requirement}, got {size}")


class WordSampler:
    """Draws the words whose logits a training step computes.

    Args:
        counts: how often each word of the vocabulary occurs in the training text, [V].
        size: mean number of words in a sample, from 1 to V - 1.

    Attributes:
        probabilities: of each word to be drawn, [V], float32.

    Raises:
        UserError: the size is out of range.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        check_sampled(size, len(counts))
        weights = counts.float().clamp_min(1) ** FREQUENCY_EXPONENT
        self.probabilities = _inclusion_probabilities(weights, size)

    def draw(self, targets: Tensor) -> Sample:
        """Draw a sample that holds all targets; from torch's random source on the CPU.

        Args:
            targets: word ids, [N]; negative ones are ignored.

        Returns:
            the sample, on the device of the targets.
        """
        probabilities = self.probabilities
        drawn = torch.bernoulli(probabilities).bool()
        included = drawn.clone()
        included[targets[targets >= 0].cpu()] = True
        words = included.nonzero().squeeze(1)
        corrections = torch.where(drawn[words], -probabilities[words].log(), EXCLUDED)
        positions = torch.full((len(probabilities),), -1)
        positions[words] = torch.arange(len(words))
        device = targets.device
        return Sample(words.to(device), corrections.to(device), positions.to(device))


class Sample:
    """The words of one training step.

    Args:
        words: their ids, [n], rising.
        corrections: what is added to a word's logit where it is not the target: -log p(w), or
            EXCLUDED for a word that is in the sample only because it is a target, [n].
        positions: where each word of the vocabulary is in ``words``, or -1, [V].
    """

    def __init__(self, words: Tensor, corrections: Tensor, positions: Tensor) -> None:
        self.words, self.corrections, self.positions = words, corrections, positions

    def positions_of(self, targets: Tensor, ignored: int) -> Tensor:
        """Where targets are among the sample's words.

        Args:
            targets: word ids, [N].
            ignored: a target that stays as it is.
        """
        return torch.where(targets == ignored, ignored, self.positions[targets.clamp_min(0)])

    def corrected(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits such that their softmax estimates that over all words.

        Args:
            logits: of the sample's words, [N, n].
            targets: their positions among the sample's words, [N]; negative ones are ignored.
        """
        corrections = self.corrections.to(logits.dtype).expand_as(logits)
        return logits + corrections.scatter(1, targets.clamp_min(0)[:, None], 0.0)


def _inclusion_probabilities(weights: Tensor, size: int) -> Tensor:
    """Probabilities min(1, k * weight) that add up to ``size``; k is found by bisection."""
    low, high = 0.0, 1.0 / float(weights.min())
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        too_few = float((weights * middle).clamp_max(1).sum()) < size
        low, high = (middle, high) if too_few else (low, middle)
    return (weights * high).clamp_max(1)
