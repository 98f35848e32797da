"""BaselineRecord: what is known of the trained float model of a study."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoquant.study import records
from autoquant.study.task_fingerprint import TaskFingerprint
from autoquant.task import Direction


@dataclass(frozen=True)
class BaselineRecord:
    """The record of the float model that every candidate is initialized from.

    Attributes:
        score: on the valid split.
        size_bytes: bytes of its tensors.
        parameters: number of its weights.
        metric: name of the score, such as "perplexity".
        direction: whether low or high scores are good.
        steps: training steps; 0 where its weights were given.
        seconds: of training, intermediate scores included.
        history: intermediate (step, score on the probe split).
        test: score on the test split; None where it was not asked for.
        digest: SHA-256 of the file of its weights; None in studies of earlier versions.
        fingerprint: of the task that it was made for; None in studies of earlier versions.
    """

    score: float
    size_bytes: int
    parameters: int
    metric: str
    direction: Direction
    steps: int
    seconds: float
    history: tuple[tuple[int, float], ...] = ()
    test: float | None = None
    digest: str | None = field(default=None, metadata=records.OPTIONAL)
    fingerprint: TaskFingerprint | None = field(default=None, metadata=records.OPTIONAL)

    def __post_init__(self) -> None:
        if not math.isfinite(self.score) or min(self.size_bytes, self.parameters) < 1:
            raise ValueError("the score, the size and the parameters must be numbers of a model")
