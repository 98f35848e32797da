"""The word ids of a language task, read when they are first needed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from autoquant.errors import UserError, shown
from autoquant.tasks.corpus import (
    Corpus,
    Text,
    check_length,
    ids_of,
    read_corpus,
    read_text,
    sentence_words,
)


class WordStreams:
    """The streams of a corpus, or of a vocabulary that was stored and the same text.

    With a stored vocabulary only the splits that are asked for are read.

    Args:
        source: the corpus, or where to read it.
        probe_tokens: how many tokens of the validation text are the probe split.

    Attributes:
        name: of the corpus.
    """

    def __init__(self, source: Corpus | Text, probe_tokens: int) -> None:
        self.name = source.name
        self._probe_tokens = probe_tokens
        self._text: Text | None = None if isinstance(source, Corpus) else source
        self._corpus: Corpus | None = source if isinstance(source, Corpus) else None
        self._stored: tuple[str, ...] | None = None
        self._streams: dict[str, Tensor] = {}

    @property
    def is_read(self) -> bool:
        """Whether the vocabulary is known without reading."""
        return self._corpus is not None or self._stored is not None

    @property
    def corpus(self) -> Corpus:
        """The whole corpus with its own vocabulary; read at the first use."""
        if self._corpus is None:
            assert self._text is not None
            self._corpus = read_corpus(self._text)
        return self._corpus

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The word of each id."""
        return self.corpus.vocabulary if self._stored is None else self._stored

    def restore(self, vocabulary: tuple[str, ...] | None) -> None:
        """Take a vocabulary in place of the corpus's own.

        Args:
            vocabulary: the word of each id; None for the corpus's own again.
        """
        if vocabulary != self._stored:
            self._stored, self._streams = vocabulary, {}

    def stream(self, split: str) -> Tensor:
        """The word ids of a split, [tokens].

        Args:
            split: "train", "probe", "valid" or "test".

        Raises:
            UserError: it cannot be read, or is too short.
        """
        if split == "probe":
            return self.stream("valid")[: self._probe_tokens]
        if split not in self._streams:
            self._streams[split] = self._read(split)
        return self._streams[split]

    def _read(self, split: str) -> Tensor:
        if self._stored is None or (self._corpus and self._corpus.vocabulary == self._stored):
            return torch.from_numpy(self.corpus.streams[split]).long()
        if self._text is not None:
            words = self._text.words(split)
        else:
            words = [self.corpus.vocabulary[i] for i in self.corpus.streams[split]]
        check_length(self.name, split, len(words))
        return torch.from_numpy(ids_of(words, self._stored)).long()

    def stream_of_file(self, path: Path) -> Tensor:
        """The word ids of a file, [tokens]; it is cut into words as the corpus is.

        A corpus that was given as ids is cut at blanks and line ends.

        Args:
            path: of an existing file.

        Raises:
            UserError: it is no UTF-8 text, has fewer than two words, or words that are out of a
                vocabulary without ``<unk>``.
        """
        text = read_text(path)
        words = sentence_words(text) if self._text is None else self._text.words_of(text)
        if len(words) < 2:
            raise UserError(f"'{path}' must have at least 2 words, got {len(words)}")
        return torch.from_numpy(ids_of(words, self.vocabulary)).long()


def encode_vocabulary(words: tuple[str, ...]) -> bytes:
    """A vocabulary as a text in UTF-8, one word a line, in the order of ids.

    Args:
        words: the word of each id.

    Raises:
        UserError: a word has a line end in it, or is no Unicode text.
    """
    for word in words:
        if "\n" in word:
            raise UserError(f"words of a vocabulary must be without line ends, got {shown(word)}")
    try:
        return "".join(f"{word}\n" for word in words).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"words of a vocabulary must be Unicode, got {error.reason}") from error


def decode_vocabulary(content: bytes) -> tuple[str, ...]:
    """The words of ``encode_vocabulary``.

    Args:
        content: that anybody may have written.

    Raises:
        UserError: it is no such text, or has a word twice.
    """
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"the stored vocabulary must be UTF-8, got {error.reason}") from error
    words = tuple(lines[:-1])
    if lines[-1] or len(set(words)) != len(words) or len(words) < 2:
        requirement = "the stored vocabulary must have a line for each of 2 words or more, all new"
        raise UserError(f"{requirement}, got {len(lines)} lines, {len(set(lines))} of them new")
    return words
