"""C identifiers."""

from __future__ import annotations

import re

_WORDS = """
    alignas alignof asm auto bool break case char class const constexpr continue default delete do
    double else enum extern false float for friend goto if inline int long main namespace new
    nullptr operator private protected public register restrict return short signed sizeof static
    static_assert struct switch template this thread_local throw true try typedef typeof union
    unsigned using virtual void volatile while NULL INFINITY NAN
"""
KEYWORDS = frozenset(_WORDS.split())
"""Words of C and C++ that are no identifiers, and ``main``."""


def identifier(text: str) -> str:
    """A C identifier that resembles a text.

    >>> identifier("rnn.h"), identifier("2x"), identifier("for")
    ('rnn_h', 'x2x', 'for_')

    Args:
        text: any.
    """
    name = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_") or "x"
    name = f"x{name}" if name[0].isdigit() else name
    return f"{name}_" if name in KEYWORDS else name


_VARIABLES = re.compile(r"[a-fi-nqprt]|v\d+|at|steps")
"""Names of variables in the text of a pass."""


class Names:
    """Identifiers of one scope, all different even in capitals.

    Args:
        taken: identifiers that are in use.
    """

    def __init__(self, *taken: str) -> None:
        self._taken = {name.lower() for name in taken}

    def new(self, text: str) -> str:
        """An identifier that resembles a text and was not given out before.

        Args:
            text: any.
        """
        base = identifier(text)
        name = base = f"{base}_" if _VARIABLES.fullmatch(base) else base
        number = 2
        while name.lower() in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name.lower())
        return name
