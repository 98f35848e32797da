"""NGramModel: probabilities of words, from a file in the ARPA format."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from autoquant.errors import UserError, first_line

UNKNOWN = ("<unk>", "<UNK>")
LN_10 = math.log(10)
MISSING = -20.0
"""Logarithm of the probability of a word that the file does not have, where it has no <unk>."""


@dataclass(frozen=True)
class NGramModel:
    """A back-off model (Katz 1987); probabilities are natural logarithms.

    Attributes:
        log_probs: by the words of an n-gram, in lower case.
        backoffs: weights of shorter n-grams, by the words of the longer history.
        order: words of the longest n-gram.
    """

    log_probs: dict[tuple[str, ...], float] = field(repr=False)
    backoffs: dict[tuple[str, ...], float] = field(repr=False)
    order: int

    @classmethod
    def read(cls, path: str | Path) -> NGramModel:
        """The model of an ARPA file, which may be compressed with gzip.

        Args:
            path: of the file.

        Raises:
            UserError: there is no such file, or it is no ARPA file.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            return cls._parsed(text.decode("utf-8").splitlines())
        except (OSError, ValueError) as error:
            requirement = "language_model must be a file in the ARPA format"
            raise UserError(f"{requirement}, got '{path}': {first_line(error)}") from error

    @classmethod
    def _parsed(cls, lines: Iterable[str]) -> NGramModel:
        """The model of the lines of a file; a ValueError where they are of no such file."""
        log_probs: dict[tuple[str, ...], float] = {}
        backoffs: dict[tuple[str, ...], float] = {}
        order, begun = 0, False
        for line in map(str.strip, lines):
            begun = begun or line == "\\data\\"  # before it stands what the authors wrote
            if not begun:
                continue
            if line.startswith("\\") and line.endswith("-grams:"):
                order = int(line[1 : -len("-grams:")])
            elif line == "\\end\\":
                break
            elif order and line:
                fields = line.split()
                words = tuple(word.lower() for word in fields[1 : order + 1])
                if len(words) != order:
                    raise ValueError(f"a line of {order} words, got {line!r}")
                log_probs[words] = float(fields[0]) * LN_10
                if len(fields) > order + 1:
                    backoffs[words] = float(fields[order + 1]) * LN_10
        if not log_probs:
            raise ValueError("no n-grams")
        return cls(log_probs, backoffs, order)

    def log_prob(self, word: str, history: tuple[str, ...]) -> float:
        """The logarithm of a word's probability behind other words.

        Args:
            word: in lower case.
            history: the words before it, the last one nearest.
        """
        if (word,) not in self.log_probs:
            word = next((mark for mark in map(str.lower, UNKNOWN) if (mark,) in self.log_probs), "")
        if not word:
            return MISSING
        kept, weight = history[max(0, len(history) - self.order + 1) :], 0.0
        while True:
            found = self.log_probs.get((*kept, word))
            if found is not None:
                return weight + found
            weight += self.backoffs.get(kept, 0.0)
            kept = kept[1:]
