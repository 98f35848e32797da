"""Text corpora as streams of word ids: the Penn Treebank and the standard library's source."""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import UserError, shown
from autoquant.settings import require

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
            check_length(self.name, split, len(self.streams[split]))


class Text(Protocol):
    """Where the words of a corpus come from; nothing is read before they are asked for."""

    @property
    def name(self) -> str:
        """The name of the corpus."""
        ...

    @property
    def size(self) -> int | None:
        """Number of words in the vocabulary, ``<unk>`` included; None: all training words."""
        ...

    def words(self, split: str) -> list[str]:
        """The words of a split; no other split is read.

        Args:
            split: "train", "valid" or "test".

        Raises:
            UserError: it cannot be read.
        """
        ...

    def words_of(self, text: str) -> list[str]:
        """The words of another text, cut as this one is.

        Args:
            text: any.
        """
        ...


def read_corpus(text: Text) -> Corpus:
    """Read all splits of a text.

    Args:
        text: where it comes from.

    Raises:
        UserError: a split cannot be read, or is too short.
    """
    return encode(text.name, {split: text.words(split) for split in SPLITS}, text.size)


def check_length(name: str, split: str, tokens: int) -> None:
    """Raise a UserError where a split is too short to be trained on or scored.

    Args:
        name: of the corpus.
        split: "train", "valid" or "test".
        tokens: number of its words.

    Raises:
        UserError: they are fewer than MIN_TOKENS.
    """
    if tokens < MIN_TOKENS:
        requirement = f"the {split} text of {name} must have at least {MIN_TOKENS} tokens"
        raise UserError(f"{requirement}, got {tokens}")


def check_size(size: int | None) -> None:
    """Raise a UserError where a vocabulary would have no word beside ``<unk>``.

    Args:
        size: number of its words; None: as many as there are.

    Raises:
        UserError: the size is no whole number, or below 2.
    """
    if size is None:
        return
    require(isinstance(size, Integral), "vocabulary must be a whole number", size)
    if size < 2:
        raise UserError(f"the vocabulary must have at least 2 words, got {size}")


def ids_of(words: Sequence[str], vocabulary: Sequence[str]) -> Ids:
    """The ids of words; those out of the vocabulary have the id of ``<unk>``.

    Args:
        words: of a text.
        vocabulary: the word of each id.

    Raises:
        UserError: a word is out of the vocabulary, which has no ``<unk>``.
    """
    ids = {word: i for i, word in enumerate(vocabulary)}
    outside = next((word for word in words if word not in ids), None)
    if outside is not None and UNKNOWN not in ids:
        requirement = f"the text must have words of the vocabulary, which has no {UNKNOWN}"
        raise UserError(f"{requirement}, got {shown(outside)}")
    unknown = ids.get(UNKNOWN, 0)
    return np.fromiter((ids.get(word, unknown) for word in words), np.int32)


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
    check_size(size)
    counts = Counter(words["train"])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    outside = any(word not in counts for split in SPLITS for word in words[split])
    if outside or (size is not None and len(ranked) > size):
        kept = [word for word in ranked if word != UNKNOWN]
        ranked = [UNKNOWN, *(kept if size is None else kept[: size - 1])]
    return Corpus(name, tuple(ranked), {split: ids_of(words[split], ranked) for split in SPLITS})


# --- the Penn Treebank's three files, or any text laid out like them ---------------------------


@dataclass(frozen=True)
class TreebankText:
    """The files ``{prefix}.train.txt``, ``.valid.txt`` and ``.test.txt`` of a folder.

    They hold a sentence a line, words apart by blanks; each line end becomes ``<eos>`` (Mikolov's
    preprocessing).

    Attributes:
        data_dir: folder of the files.
        prefix: of the files' names; also the name of the corpus.
        size: number of words in the vocabulary, ``<unk>`` included; None: all training words.
    """

    data_dir: str | Path
    prefix: str = "ptb"
    size: int | None = None

    def __post_init__(self) -> None:
        is_path = isinstance(self.data_dir, str | Path)
        require(is_path, "task.data_dir must be a folder's path", self.data_dir)
        require(isinstance(self.prefix, str), "prefix must be a text", self.prefix)
        check_size(self.size)

    @property
    def name(self) -> str:
        """See ``Text.name``."""
        return self.prefix

    def words(self, split: str) -> list[str]:
        """See ``Text.words``.

        Args:
            split: "train", "valid" or "test".

        Raises:
            UserError: the folder or the file is not there, or the file is no UTF-8 text.
        """
        folder = Path(self.data_dir)
        if not folder.is_dir():
            raise UserError(f"task.data_dir must be an existing folder, got '{folder}'")
        path = folder / f"{self.prefix}.{split}.txt"
        if not path.is_file():
            raise UserError(f"the corpus must have the file '{path}', which is not there")
        return self.words_of(read_text(path))

    def words_of(self, text: str) -> list[str]:
        """See ``Text.words_of``."""
        return sentence_words(text)


def read_text(path: Path) -> str:
    """The text of a file.

    Args:
        path: of an existing file.

    Raises:
        UserError: it is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' must be UTF-8 text, got {error.reason}") from error


def sentence_words(text: str) -> list[str]:
    """Words that blanks part; each line end is ``<eos>``.

    Args:
        text: a sentence a line.
    """
    return text.replace("\n", f" {END} ").split()


def read_treebank(data_dir: str | Path, prefix: str = "ptb", size: int | None = None) -> Corpus:
    """Read all files of a ``TreebankText``.

    Args:
        data_dir: folder of the files.
        prefix: of the files' names; also the name of the corpus.
        size: number of words in the vocabulary, ``<unk>`` included; None: all training words.

    Raises:
        UserError: the folder or a file is not there, is not UTF-8 text, or is too short.
    """
    return read_corpus(TreebankText(data_dir, prefix, size))


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


@dataclass(frozen=True)
class StdlibText:
    """The standard library's Python files as word-level text.

    Words are runs of letters; underscores and other signs are words of their own; digits become
    ``N`` and line ends ``<eos>``. Files are ordered by the hash of their path inside the library,
    so that any prefix is a mix of modules; of every ten files one is for validation, one for test.
    Reading stops at ``tokens`` training tokens.

    Attributes:
        tokens: upper limit of training tokens; the other splits are limited to a tenth of it.
        size: number of words in the vocabulary, ``<unk>`` included.
        root: folder to read instead of this interpreter's standard library.
    """

    name = "stdlib"

    tokens: int
    size: int
    root: str | Path | None = None

    def __post_init__(self) -> None:
        require(isinstance(self.tokens, Integral), "tokens must be a whole number", self.tokens)
        is_path = self.root is None or isinstance(self.root, str | Path)
        require(is_path, "task.root must be a folder's path", self.root)
        check_size(self.size)

    def words(self, split: str) -> list[str]:
        """See ``Text.words``.

        Args:
            split: "train", "valid" or "test".

        Raises:
            UserError: the folder is not there.
        """
        words: list[str] = []
        limit = self.tokens if split == "train" else self.tokens // 10
        for position, path in enumerate(self._files):
            if len(words) >= limit:
                break
            if {8: "valid", 9: "test"}.get(position % 10, "train") == split:
                text = path.read_text(encoding="utf-8", errors="replace")
                words.extend(islice(_stdlib_words(text), limit - len(words)))
        return words

    def words_of(self, text: str) -> list[str]:
        """See ``Text.words_of``."""
        return [*_stdlib_words(text)]

    @cached_property
    def _files(self) -> list[Path]:
        root = sysconfig.get_paths()["stdlib"] if self.root is None else self.root
        folder = Path(root)
        if not folder.is_dir():
            raise UserError(f"the standard library's source must be in a folder, got '{folder}'")
        return _shuffled_files(folder)


def read_stdlib(tokens: int, size: int, root: str | Path | None = None) -> Corpus:
    """Read all splits of a ``StdlibText``.

    Args:
        tokens: upper limit of training tokens; the other splits are limited to a tenth of it.
        size: number of words in the vocabulary, ``<unk>`` included.
        root: folder to read instead of this interpreter's standard library.

    Raises:
        UserError: the folder is not there, or has too little text.
    """
    return read_corpus(StdlibText(tokens, size, root))


def _shuffled_files(folder: Path) -> list[Path]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]
    kept = [name for name in names if not _SKIPPED_FOLDERS & set(name.split("/"))]
    return [folder / name for name in sorted(kept, key=_digest)]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _stdlib_words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match.group()
        yield "N" if word[0].isdigit() else END if word[0] == "\n" else word
