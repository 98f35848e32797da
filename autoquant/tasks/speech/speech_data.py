"""SpeechData: the usable utterances of each split, and batches of utterances of similar length."""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from autoquant.errors import UserError
from autoquant.task import Split
from autoquant.tasks.speech.alphabet import Alphabet
from autoquant.tasks.speech.augmentation import Augmentation
from autoquant.tasks.speech.corpora.corpus import LAYOUTS, SpeechSplit, layout_of
from autoquant.tasks.speech.feature_store import FeatureStore
from autoquant.tasks.speech.features import Features, Frames, Normalization
from autoquant.tasks.speech.front import Front
from autoquant.tasks.speech.utterance import Utterance

MAX_NAMED = 3
"""Broken files that are named, at most."""
AHEAD = 3
"""Batches that are prepared while others are trained on."""


@dataclass(frozen=True)
class SpeechBatch:
    """Utterances of similar length.

    Attributes:
        frames: [B, T, F], normalized, zeros behind each utterance.
        lengths: frames of each utterance, [B].
        targets: numbers of the characters, of one utterance after the other.
        target_lengths: characters of each utterance, [B].
        texts: the transcripts, normalized.
    """

    frames: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    texts: tuple[str, ...]


class SpeechData:
    """The three splits of a corpus; a split is read when it is first needed.

    Args:
        folder: of the corpus.
        layout: of its files: one of LAYOUTS, or "auto".
        features: how they are computed.
        alphabet: of the transcripts.
        cache: folder of computed features; None: they are kept in memory only.
        batch_size: utterances B of a batch, at most.
        held_out: speakers of the training split that are the valid split, where the corpus has
            none; where speakers are not known, this many twentieths of the utterances.
        probe: utterances of the valid split that are the probe split.
        augmentation: of the training utterances; None: they are read as they are.

    Attributes:
        notes: lines about files that are left out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        layout: str,
        features: Features,
        alphabet: Alphabet,
        cache: Path | None,
        batch_size: int,
        held_out: int,
        probe: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._folder, self._named_layout = folder, layout
        self.features, self.alphabet, self._batch_size = features, alphabet, batch_size
        self._held_out, self._probe, self._augmentation = held_out, probe, augmentation
        self._given = features, alphabet
        self._store = FeatureStore(features, cache)
        self._usable: dict[str, list[Utterance]] = {}
        self._restored: Normalization | None = None
        self.notes: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Without features: another process reads them itself; see ``FeatureStore``."""
        return {**vars(self), "_usable": {}, "notes": []}

    def restore(self, front: Front | None) -> None:
        """Read utterances as a packed model does; the training split is then not needed.

        Args:
            front: of the packed model; None: that of the settings and the training split.
        """
        features, alphabet = (front.features, front.alphabet) if front else self._given
        if features != self.features or alphabet != self.alphabet:
            self.features, self.alphabet = features, alphabet
            self._store = FeatureStore(features, self._store.folder)
            self._usable = {}
            self.__dict__.pop("_own_normalization", None)
        self._restored = None if front is None else front.normalization

    @cached_property
    def _layout(self) -> str:
        """Name of the layout."""
        return layout_of(self._folder, self._named_layout)

    @property
    def normalization(self) -> Normalization:
        """Mean and deviation of the features."""
        return self._restored or self._own_normalization

    @cached_property
    def _own_normalization(self) -> Normalization:
        """That of the training split."""
        return Normalization.of([self._store[u] for u in self.split("train")])

    def split(self, split: Split | SpeechSplit) -> list[Utterance]:
        """The usable utterances of a split, sorted by name; their features are loaded.

        Args:
            split: "train", "valid", "probe" or "test".

        Raises:
            UserError: there is none.
        """
        if split == "probe":
            return self.split("valid")[: self._probe]
        if split not in self._usable:
            self._usable[split] = self._loaded(split)
        return self._usable[split]

    def steps_per_epoch(self) -> int:
        """Number of batches of the training split."""
        return -(-len(self.split("train")) // self._batch_size)

    def training_batches(self, seed: int, start: int = 0) -> Iterator[SpeechBatch]:
        """Batches of epoch after epoch: utterances of similar length, batches in another order.

        Args:
            seed: of the order.
            start: number of the first batch, from 0.
        """
        groups = self._training_groups(seed, start)
        with ThreadPoolExecutor(1, "batches") as pool:
            waiting: deque[Future[SpeechBatch]] = deque()
            while True:
                while len(waiting) < AHEAD:
                    epoch, group = next(groups)
                    waiting.append(pool.submit(self.batch, group, (seed, epoch)))
                yield waiting.popleft().result()

    def _training_groups(
        self, seed: int, start: int
    ) -> Iterator[tuple[int, tuple[Utterance, ...]]]:
        """The utterances of each batch, and the number of the epoch; without end.

        Args:
            seed: of the order.
            start: number of the first batch, from 0.
        """
        first, skipped = divmod(start, self.steps_per_epoch())
        for epoch in count(first):
            for group in self._epoch(seed, epoch)[skipped:]:
                yield epoch, group
            skipped = 0

    def scored_batches(self, split: Split) -> Iterator[SpeechBatch]:
        """The batches of a split, each utterance once, in an order that never changes.

        Args:
            split: "valid", "probe" or "test".
        """
        ordered = sorted(self.split(split), key=self._length)
        for group in _groups(ordered, self._batch_size):
            yield self.batch(group)

    def batch(
        self, utterances: Sequence[Utterance], varied: tuple[int, int] | None = None
    ) -> SpeechBatch:
        """Utterances as one batch.

        Args:
            utterances: of any split.
            varied: seed and number of the epoch that they are varied for; None: they are not.
        """
        frames = [torch.from_numpy(self._frames(u, varied)) for u in utterances]
        texts = tuple(self.alphabet.normalized(u.text) for u in utterances)
        targets = [self.alphabet.encode(text) for text in texts]
        return SpeechBatch(
            pad_sequence(frames, batch_first=True),
            torch.tensor([len(each) for each in frames]),
            torch.tensor([number for target in targets for number in target], dtype=torch.long),
            torch.tensor([len(target) for target in targets]),
            texts,
        )

    def _frames(self, utterance: Utterance, varied: tuple[int, int] | None) -> Frames:
        """What a model reads of an utterance, [T, entries].

        Args:
            utterance: of any split.
            varied: seed and number of the epoch that it is varied for; None: it is not.
        """
        frames = self._store[utterance]
        if self._augmentation is None or varied is None:
            return self.features.with_context(self.normalization(frames))
        drawn = np.random.default_rng([*varied, zlib.crc32(utterance.name.encode())])
        frames = self._augmentation.vary(frames, self.features, drawn)
        frames = self._augmentation.mask(self.normalization(frames), drawn)
        return self.features.with_context(frames)

    # --- the splits ------------------------------------------------------------------------------

    def _epoch(self, seed: int, epoch: int) -> list[tuple[Utterance, ...]]:
        """The batches of an epoch.

        Lengths are varied a little before the utterances are sorted, so that each epoch has other
        batches.

        Args:
            seed: of the order.
            epoch: its number.
        """
        drawn = random.Random(f"{seed} {epoch}")
        ordered = sorted(self.split("train"), key=lambda u: self._length(u) * drawn.uniform(0.9, 1))
        groups = list(_groups(ordered, self._batch_size))
        drawn.shuffle(groups)
        return groups

    def _length(self, utterance: Utterance) -> int:
        return len(self._store[utterance])

    def _loaded(self, split: Split | SpeechSplit) -> list[Utterance]:
        """The utterances of a split that can be used; the others are counted in a note.

        Args:
            split: "train", "valid" or "test".
        """
        listed = self._listed(split)
        broken = self._store.load(listed)
        unreadable = {utterance for utterance, _ in broken}
        reasons = [f"'{utterance.path}' ({reason})" for utterance, reason in broken]
        usable = []
        for utterance in listed:
            if utterance in unreadable:
                continue
            if reason := self._unusable(utterance):
                reasons.append(f"'{utterance.path}' ({reason})")
            else:
                usable.append(utterance)
        if reasons:
            more = ", ..." if len(reasons) > MAX_NAMED else ""
            self.notes.append(
                f"{split}: {len(reasons)} of {len(listed)} utterances are left out: "
                f"{', '.join(reasons[:MAX_NAMED])}{more}"
            )
        if not usable:
            got = f"{len(listed)} that cannot be read" if listed else "none"
            if not listed and split == "train" and LAYOUTS[self._layout](self._folder, split):
                got = "none, as all of them are held out for validation"
            reason = f": {reasons[0]}" if reasons else ""
            raise UserError(
                f"the {split} split of '{self._folder}' must have utterances, got {got}{reason}"
            )
        return usable

    def _unusable(self, utterance: Utterance) -> str:
        """Why an utterance cannot be trained on or scored; an empty text where it can."""
        target = self.alphabet.encode(utterance.text)
        repeated = sum(one == other for one, other in pairwise(target))
        frames = -(-self._length(utterance) // self.features.stride)
        if not target:
            return "its transcript has no character of the alphabet"
        if frames < len(target) + repeated:
            return f"{frames} frames for {len(target) + repeated} characters and blanks"
        return ""

    def _listed(self, split: Split | SpeechSplit) -> list[Utterance]:
        """The utterances of a split, before they are read.

        Args:
            split: "train", "valid" or "test".
        """
        assert split != "probe"
        lister = LAYOUTS[self._layout]
        if split == "test":
            return lister(self._folder, "test")
        if valid := lister(self._folder, "valid"):
            return valid if split == "valid" else lister(self._folder, "train")
        train = lister(self._folder, "train")
        held_out = self._held_out_names(train)
        return [u for u in train if (u.name in held_out) == (split == "valid")]

    def _held_out_names(self, train: list[Utterance]) -> set[str]:
        """Names of the training utterances that are the valid split instead.

        Args:
            train: all training utterances.
        """
        drawn = random.Random(0)
        speakers = sorted({utterance.speaker for utterance in train})
        if len(speakers) > self._held_out:
            chosen = set(drawn.sample(speakers, self._held_out))
            return {utterance.name for utterance in train if utterance.speaker in chosen}
        names = sorted(utterance.name for utterance in train)
        return set(drawn.sample(names, max(1, len(names) * min(self._held_out, 10) // 20)))


def _groups(utterances: Sequence[Utterance], size: int) -> Iterator[tuple[Utterance, ...]]:
    """Utterances in groups of a size, the last one smaller.

    Args:
        utterances: in order.
        size: of a group.
    """
    for start in range(0, len(utterances), size):
        yield tuple(utterances[start : start + size])
