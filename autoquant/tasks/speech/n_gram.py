"""NGramModel: probabilities of words, from a file in the ARPA format."""

from __future__ import annotations

import gzip
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from autoquant.errors import UserError, first_line

UNKNOWN = ("<unk>", "<UNK>")
LN_10 = math.log(10)
_HEADING = re.compile(r"\\(\d+)-grams:")
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
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
        except (OSError, EOFError, ValueError) as error:
            requirement = "language_model must be a file in the ARPA format"
            raise UserError(f"{requirement}, got '{path}': {first_line(error)}") from error

    @classmethod
    def _parsed(cls, lines: Iterable[str]) -> NGramModel:
        """The model of the lines of a file; a ValueError where they are of no such file."""
        log_probs: dict[tuple[str, ...], float] = {}
        backoffs: dict[tuple[str, ...], float] = {}
        promised: dict[int, int] = {}
        found: dict[int, int] = defaultdict(int)
        order, begun, ended = 0, False, False
        for line in map(str.strip, lines):
            begun = begun or line == "\\data\\"  # before it stands what the authors wrote
            if not begun:
                continue
            if heading := _HEADING.fullmatch(line):
                order = int(heading[1])
            elif count := _COUNT.fullmatch(line):
                promised[int(count[1])] = int(count[2])
            elif line == "\\end\\":
                ended = True
                break
            elif order and line:
                fields = line.split()
                words = tuple(word.lower() for word in fields[1 : order + 1])
                if len(words) != order:
                    raise ValueError(f"a line of {order} words, got {line!r}")
                found[order] += 1
                log_probs[words] = _finite(fields[0]) * LN_10
                if len(fields) > order + 1:
                    backoffs[words] = _finite(fields[order + 1]) * LN_10
        if not any(len(words) == 1 for words in log_probs):
            raise ValueError("no words")
        if not ended:
            raise ValueError("no \\end\\ after the last n-gram")
        for length, number in promised.items():
            if found[length] < number:
                wanted = f"{number} n-grams of length {length} are promised"
                raise ValueError(f"{wanted}, got {found[length]}")
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


def _finite(text: str) -> float:
    """A number; a ValueError where it is none, or not finite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"numbers must be finite, got {text}")
    return value
