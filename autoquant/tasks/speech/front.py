"""Front: what a recogniser needs beside its weights, stored beside the packed file."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.tasks.speech.alphabet import Alphabet
from autoquant.tasks.speech.features import Features, Frames, Normalization

ASSET = "speech.json"
"""Name of the asset: alphabet, features and their normalization."""


@dataclass(frozen=True)
class Front:
    """What a recogniser needs beside its weights.

    Attributes:
        alphabet: that it writes.
        features: that it reads.
        normalization: of the features.
    """

    alphabet: Alphabet
    features: Features
    normalization: Normalization

    def frames(self, cepstra: Frames) -> Tensor:
        """What the model reads, [1, T, entries].

        Args:
            cepstra: of an utterance, [T, cepstra].
        """
        return torch.from_numpy(self.features.with_context(self.normalization(cepstra)))[None]

    def encode(self) -> bytes:
        """The front as JSON."""
        content = {
            "alphabet": self.alphabet.characters,
            "features": self.features.to_dict(),
            "mean": self.normalization.mean,
            "deviation": self.normalization.deviation,
        }
        return json.dumps(content).encode()

    @classmethod
    def decode(cls, content: bytes) -> Front:
        """The inverse of ``encode``.

        Args:
            content: of the asset.

        Raises:
            UserError: it is damaged.
        """
        try:
            values = json.loads(content)
            normalization = Normalization(tuple(values["mean"]), tuple(values["deviation"]))
            front = cls(Alphabet(values["alphabet"]), Features(**values["features"]), normalization)
            sizes = {len(normalization.mean), len(normalization.deviation)}
            if sizes != {front.features.cepstra} or not min(normalization.deviation) > 0:
                raise ValueError("the normalization is not that of the features")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"the asset {ASSET} must be as it was written, got {error}") from error
        return front
