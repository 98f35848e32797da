"""Alphabet: the characters that a recogniser writes, and their numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from autoquant.errors import UserError, shown

BLANK = 0
"""Number of the blank of CTC, which stands for no character."""
ENGLISH = " 'abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Alphabet:
    """The characters of a language; number 0 is the blank.

    >>> Alphabet(" ab").encode("A b?")
    [2, 1, 3]

    Attributes:
        characters: each once, the space between words among them.
    """

    characters: str = ENGLISH

    def __post_init__(self) -> None:
        text: object = self.characters
        if not isinstance(text, str) or not text or len(set(text)) != len(text):
            raise UserError(f"alphabet must name each character once, got {shown(text)}")
        if " " not in text:
            raise UserError(f"alphabet must have a space, which separates words, got {shown(text)}")

    def __len__(self) -> int:
        return len(self.characters) + 1

    def normalized(self, text: str) -> str:
        """A text in the alphabet's characters: lower case, other characters left out.

        Args:
            text: of an utterance.
        """
        composed = unicodedata.normalize("NFC", text)
        if composed.lower() != composed and self.characters.lower() == self.characters:
            composed = composed.lower()
        elif self.characters.upper() == self.characters:
            composed = composed.upper()
        spaced = (" " if char.isspace() or char in "-_" else char for char in composed)
        kept = "".join(char for char in spaced if char in self.characters)
        return " ".join(kept.split())

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's characters.

        Args:
            text: of an utterance, normalized here.
        """
        return [self.characters.index(char) + 1 for char in self.normalized(text)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers; blanks are left out.

        Args:
            numbers: of characters.
        """
        text = "".join(self.characters[n - 1] for n in numbers if n != BLANK)
        return " ".join(text.split())
