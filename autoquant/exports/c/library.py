"""The C functions that exported programs are made of, of which each gets what it calls.

The folder's ``*.h`` files and ``quantization/native/functions.h`` hold one definition in each
paragraph. A program gets the paragraphs that define a name which its own text, or another paragraph
that it gets, contains.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from autoquant.exports.c import code_rows
from autoquant.quantization import native

HERE = Path(__file__).parent
FILES = (
    HERE / "scalar.h",
    Path(native.__file__).parent / "functions.h",  # the formulas of sigmoid and tanh, once
    HERE / "pairs.h",
    HERE / "rounding.h",
    HERE / "products.h",
    HERE / "recurrence.h",
    HERE / "convolution.h",
    HERE / "normalization.h",
)
_DEFINED = re.compile(
    r"^ *#define (\w+)|^typedef .*?(\w+);$|^struct (\w+) {|^} (\w+);"
    r"|^(?:static|INLINE) [^(=;]*?(\w+)\(",
    re.MULTILINE,
)
_WORD = re.compile(r"[A-Za-z_]\w*")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def needed(text: str) -> str:
    """The definitions that a text refers to, in an order in which they compile.

    Args:
        text: C source.
    """
    paragraphs, owners = _paragraphs(), _owners()
    kept: set[int] = set()
    readers: dict[str, str] = {}
    waiting = [text]
    while waiting:
        for word in dict.fromkeys(_WORD.findall(_COMMENT.sub("", waiting.pop()))):
            for index in owners.get(word, ()):
                if index not in kept:
                    kept.add(index)
                    waiting.append(paragraphs[index])
            if word not in readers and (function := code_rows.reader(word)):
                readers[word] = function
                waiting.append(function)
    return "\n".join([*(paragraphs[index] for index in sorted(kept)), *readers.values()])


@cache
def _owners() -> dict[str, list[int]]:
    """The paragraphs that define each name."""
    owners: dict[str, list[int]] = {}
    for index, paragraph in enumerate(_paragraphs()):
        for name in _names(paragraph):
            owners.setdefault(name, []).append(index)
    return owners


def reserved() -> frozenset[str]:
    """Names that the definitions use, which a program must not give to anything else."""
    return frozenset(_owners()) | {"state", "work"}


def _names(paragraph: str) -> list[str]:
    return [next(filter(None, found)) for found in _DEFINED.findall(_COMMENT.sub("", paragraph))]


@cache
def _paragraphs() -> tuple[str, ...]:
    return tuple(text for path in FILES for text in _definitions(path.read_text("utf-8")))


def _definitions(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\n+", text):
        stripped = paragraph.strip("\n")
        if not _names(stripped) or re.search(r"^#(ifndef|include)", stripped, re.MULTILINE):
            continue
        kinds = ("int8_t", "uint8_t") if "_TYPE" in stripped else ("",)
        for kind in kinds:
            yield re.sub(r"TYPE\b", kind, stripped) + "\n"
