"""Error rates: word and character errors of transcripts, and the paired bootstrap of two models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autoquant.tasks.speech.requirements import need


@dataclass(frozen=True)
class ErrorRates:
    """Errors of each utterance: substitutions, deletions and insertions.

    Attributes:
        word_errors: of each utterance.
        words: of each transcript.
        character_errors: of each utterance.
        characters: of each transcript.
    """

    word_errors: tuple[int, ...]
    words: tuple[int, ...]
    character_errors: tuple[int, ...]
    characters: tuple[int, ...]

    @property
    def wer(self) -> float:
        """Word errors over words."""
        return sum(self.word_errors) / max(1, sum(self.words))

    @property
    def cer(self) -> float:
        """Character errors over characters."""
        return sum(self.character_errors) / max(1, sum(self.characters))


def error_rates(references: Sequence[str], transcripts: Sequence[str]) -> ErrorRates:
    """The errors of transcripts.

    Args:
        references: what was said, normalized, none of them empty.
        transcripts: what was recognised, in the same order.

    Raises:
        UserError: jiwer is not installed.
    """
    need("jiwer")
    import jiwer

    pairs = [*zip(references, transcripts, strict=True)]
    return ErrorRates(
        word_errors=tuple(_errors(*pair, jiwer.process_words) for pair in pairs),
        words=tuple(len(reference.split()) for reference in references),
        character_errors=tuple(_errors(*pair, jiwer.process_characters) for pair in pairs),
        characters=tuple(map(len, references)),
    )


def _errors(reference: str, transcript: str, process: Callable[..., Any]) -> int:
    """Substitutions, deletions and insertions of a transcript.

    Args:
        reference: what was said; not empty, which jiwer refuses.
        transcript: what was recognised.
        process: aligns the two.
    """
    found = process(reference, transcript)
    return int(found.substitutions + found.deletions + found.insertions)


@dataclass(frozen=True)
class RateDifference:
    """The difference of two word error rates on the same utterances.

    Attributes:
        value: of the one minus that of the other.
        low: lower end of its interval.
        high: upper end of its interval.
    """

    value: float
    low: float
    high: float

    def verdict(self, target: float, margin: float = 0.005) -> str:
        """Whether a target for the difference is met.

        Args:
            target: the largest difference that is accepted.
            margin: added to the target before the upper end is compared with it.

        Returns:
            "met" where the upper end is below the target plus the margin, "missed" where the lower
            end is above the target, else "undecided".
        """
        if self.high < target + margin:
            return "met"
        return "missed" if self.low > target else "undecided"


def bootstrap_difference(
    one: ErrorRates, other: ErrorRates, *, seed: int = 0, samples: int = 2000, level: float = 0.9
) -> RateDifference:
    """The difference of word error rates with its interval (Bisani and Ney 2004, section 3).

    Utterances are drawn with replacement, the same for both.

    Args:
        one: errors of one model.
        other: those of another on the same utterances, in the same order.
        seed: of the draws.
        samples: number of draws.
        level: of the interval, in (0, 1).
    """
    words = np.array(one.words)
    gaps = np.array(one.word_errors) - np.array(other.word_errors)
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(words), (samples, len(words)))
    rates: npt.NDArray[np.float64] = gaps[drawn].sum(1) / np.maximum(1, words[drawn].sum(1))
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return RateDifference(float(gaps.sum() / max(1, words.sum())), float(low), float(high))
