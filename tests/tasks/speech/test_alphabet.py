from __future__ import annotations

import pytest

from autoquant.errors import UserError
from autoquant.tasks.speech.alphabet import BLANK, Alphabet

TEXTS = {
    "It's  SEVEN o'clock!": "it's seven o'clock",
    "twenty-one": "twenty one",
    "  ": "",
    "1984 caf\u00e9s": "cafs",
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_normalized(text: str) -> None:
    assert Alphabet().normalized(text) == TEXTS[text]


def test_numbers_are_read_back() -> None:
    alphabet = Alphabet()
    assert len(alphabet) == 29
    numbers = alphabet.encode("Hello world")
    assert BLANK not in numbers
    assert alphabet.decode(numbers) == "hello world"
    assert alphabet.decode([BLANK, *numbers, BLANK]) == "hello world"


def test_upper_case_and_other_letters() -> None:
    assert Alphabet(" AB\u00c4").normalized("ba\u0308 a") == "B\u00c4 A"
    assert Alphabet(" aB").normalized("aB Ab") == "aB"


@pytest.mark.parametrize("characters", ["", "ab", " aa", 3])
def test_an_alphabet_that_is_none(characters: object) -> None:
    with pytest.raises(UserError, match="alphabet must"):
        Alphabet(characters)  # type: ignore[arg-type]
