"""Cross-entropy over a sample of the vocabulary: training steps that skip most of the decoder.

The sum over all words in softmax's denominator is estimated without bias from a sample S that holds
word w with probability p(w), each word on its own (Horvitz-Thompson; the idea of Jean et al. 2015,
"On Using Very Large Target Vocabulary", section 3.1):

    Z = exp(z_t) + sum of exp(z_w) / p(w) over w in S other than the target t

p(w) grows with the word's frequency, so that frequent words, which hold nearly all of Z, are always
there, and only the tail is sampled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.errors import UserError

FLATTENING = 0.75  # p(w) ~ frequency ** 0.75: below 1, so that rare words do not weigh too much
NEVER = -1e4  # added to a logit that must not count: exp of it is 0, in half precision too
HALVINGS = 100


class WordSampler:
    """Draws the words whose logits a step computes.

    Args:
        counts: how often each word stands in the training text, [V].
        size: words of a sample on average, below V.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        if not 0 < size < len(counts):
            rule = f"sampled must be from 1 to below the vocabulary's {len(counts)} words, or 0"
            raise UserError(f"{rule} for all of them, got {size}")
        self.probabilities = _inclusion(counts.float().clamp_min(1) ** FLATTENING, size)

    def draw(self, targets: Tensor) -> Sample:
        """A sample for targets [N]; drawn from torch's random source on the CPU."""
        probabilities = self.probabilities
        drawn = torch.bernoulli(probabilities).bool()
        there = drawn.clone()
        there[targets[targets >= 0].cpu()] = True
        words = there.nonzero().squeeze(1)
        shift = torch.where(drawn[words], -probabilities[words].log(), NEVER)
        place = torch.full((len(probabilities),), -1)
        place[words] = torch.arange(len(words))
        device = targets.device
        return Sample(words.to(device), shift.to(device), place.to(device))


class Sample:
    """Words of a step.

    Attributes:
        words: ids, [n], rising.
        shift: what is added to their logits where they are not the target, [n].
        place: where each word of the vocabulary stands in ``words``, or -1, [V].
    """

    def __init__(self, words: Tensor, shift: Tensor, place: Tensor) -> None:
        self.words, self.shift, self.place = words, shift, place

    def places(self, targets: Tensor, ignored: int) -> Tensor:
        """Where targets [N] stand among the sample's words; ``ignored`` stays as it is."""
        return torch.where(targets == ignored, ignored, self.place[targets.clamp_min(0)])

    def shifted(self, logits: Tensor, places: Tensor) -> Tensor:
        """Logits [N, n] of the sample's words, such that their softmax estimates that of all words.

        Args:
            places: of the targets, [N].
        """
        shift = self.shift.to(logits.dtype).expand_as(logits)
        return logits + shift.scatter(1, places.clamp_min(0)[:, None], 0.0)


def _inclusion(weights: Tensor, size: int) -> Tensor:
    """Probabilities min(1, k * weight) that add up to ``size``."""
    low, high = 0.0, 1.0 / float(weights.min())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        few = float((weights * middle).clamp_max(1).sum()) < size
        low, high = (middle, high) if few else (low, middle)
    return (weights * high).clamp_max(1)
