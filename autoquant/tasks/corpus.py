"""Text corpora as streams of word ids: the Penn Treebank and the standard library's source."""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import UserError

END = "<eos>"
UNKNOWN = "<unk>"
SPLITS = ("train", "valid", "test")
MIN_TOKENS = 100
"""Least length of a split: a shorter one leaves nothing to train on or to score."""

Ids = NDArray[np.int32]
"""A stream of word ids, [tokens]."""


@dataclass(frozen=True)
class Corpus:
    """Three streams of word ids over one vocabulary.

    Attributes:
        name: of the corpus; its task has the same.
        vocabulary: the word of each id.
        streams: the word ids of "train", "valid" and "test", int32 arrays [tokens].
    """

    name: str
    vocabulary: tuple[str, ...]
    streams: Mapping[str, Ids]

    def __post_init__(self) -> None:
        for split in SPLITS:
            tokens = len(self.streams[split])
            if tokens < MIN_TOKENS:
                raise UserError(
                    f"the {split} text of {self.name} must have at least {MIN_TOKENS} tokens, "
                    f"got {tokens}"
                )


def encode(name: str, words: Mapping[str, list[str]], size: int | None) -> Corpus:
    """Build a corpus whose vocabulary is the most frequent training words.

    Ties in frequency are broken by the word itself, so the same text gives the same ids. Words
    outside the vocabulary become ``<unk>``.

    Args:
        name: of the corpus.
        words: the text of "train", "valid" and "test", word by word.
        size: number of words in the vocabulary, ``<unk>`` included; None: all training words.

    Raises:
        UserError: the size is below 2, or a text has fewer than MIN_TOKENS words.
    """
    if size is not None and size < 2:
        raise UserError(f"the vocabulary must have at least 2 words, got {size}")
    counts = Counter(words["train"])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    outside = any(word not in counts for split in SPLITS for word in words[split])
    if outside or (size is not None and len(ranked) > size):
        kept = [word for word in ranked if word != UNKNOWN]
        ranked = [UNKNOWN, *(kept if size is None else kept[: size - 1])]
    ids = {word: i for i, word in enumerate(ranked)}
    unknown = ids.get(UNKNOWN, 0)
    streams = {
        split: np.fromiter((ids.get(word, unknown) for word in words[split]), np.int32)
        for split in SPLITS
    }
    return Corpus(name, tuple(ranked), streams)


# --- the Penn Treebank's three files, or any text laid out like them ---------------------------


def read_treebank(data_dir: str | Path, prefix: str = "ptb", size: int | None = None) -> Corpus:
    """Read ``{prefix}.train.txt``, ``.valid.txt`` and ``.test.txt``.

    They hold a sentence a line, words apart by blanks; each line end becomes ``<eos>`` (Mikolov's
    preprocessing).

    Args:
        data_dir: folder of the files.
        prefix: of the files' names; also the name of the corpus.
        size: number of words in the vocabulary, ``<unk>`` included; None: all training words.

    Raises:
        UserError: the folder or a file is not there, is not UTF-8 text, or is too short.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        raise UserError(f"task.data_dir must be an existing folder, got '{folder}'")
    words = {split: _read_sentences(folder / f"{prefix}.{split}.txt") for split in SPLITS}
    return encode(prefix, words, size)


def _read_sentences(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"the corpus must have the file '{path}', which is not there")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' must be UTF-8 text, got {error.reason}") from error
    return text.replace("\n", f" {END} ").split()


# --- the interpreter's own standard library ----------------------------------------------------

_WORD = re.compile(r"[A-Za-z]+|[0-9]+|_+|\n+|[^\sA-Za-z0-9_]")
_SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "encodings",
    "pydoc_data",
}


def read_stdlib(tokens: int, size: int, root: str | Path | None = None) -> Corpus:
    """The standard library's Python files as word-level text.

    Words are runs of letters; underscores and other signs are words of their own; digits become
    ``N`` and line ends ``<eos>``. Files are ordered by the hash of their path inside the library,
    so that any prefix is a mix of modules; of every ten files one is for validation, one for test.
    Reading stops at ``tokens`` training tokens.

    Args:
        tokens: upper limit of training tokens; the other splits are limited to a tenth of it.
        size: number of words in the vocabulary, ``<unk>`` included.
        root: folder to read instead of this interpreter's standard library.

    Raises:
        UserError: the folder is not there, or has too little text.
    """
    folder = Path(root) if root is not None else Path(sysconfig.get_paths()["stdlib"])
    if not folder.is_dir():
        raise UserError(f"the standard library's source must be in a folder, got '{folder}'")
    words: dict[str, list[str]] = {split: [] for split in SPLITS}
    limits = {"train": tokens, "valid": tokens // 10, "test": tokens // 10}
    for position, path in enumerate(_shuffled_files(folder)):
        split = {8: "valid", 9: "test"}.get(position % 10, "train")
        missing = limits[split] - len(words[split])
        if missing > 0:
            words[split].extend(islice(_read_words(path), missing))
        elif all(len(words[name]) >= limits[name] for name in SPLITS):
            break
    return encode("stdlib", words, size)


def _shuffled_files(folder: Path) -> list[Path]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]
    kept = [name for name in names if not _SKIPPED_FOLDERS & set(name.split("/"))]
    return [folder / name for name in sorted(kept, key=_digest)]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _read_words(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    for match in _WORD.finditer(text):
        word = match.group()
        yield "N" if word[0].isdigit() else END if word[0] == "\n" else word
