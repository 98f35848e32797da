"""Checkpoint: the file from which an interrupted training run continues, bit for bit."""

from __future__ import annotations

import copy
import io
import math
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoquant.files import replacing, set_aside
from autoquant.training.device import is_out_of_memory

CHECKPOINT_SECONDS = 20.0
"""Least time between two checkpoints of a run."""


@dataclass
class TrainingRun:
    """What a training run has done so far."""

    steps: int = 0
    """Training steps done."""
    seconds: float = 0.0
    """Wall-clock seconds, intermediate scores included; of earlier processes too."""
    scores: list[tuple[int, float]] = field(default_factory=list)
    """(step, score on the probe split) of the intermediate scores."""


@dataclass(frozen=True)
class Trunk:
    """The steps before the cool-down, which runs of several lengths have in common.

    Attributes:
        path: a file: it is restored where it holds no more steps than this run has before its
            cool-down, and written at the end of these.
        identity: what the steps depend on beside the model, compared by its ``repr``.
    """

    path: Path
    identity: object


class Checkpoint:
    """The checkpoint file of one run.

    It holds the state of the run's parts, of torch's random sources, the ``TrainingRun`` and the
    carry.

    Args:
        path: the file; None: nothing is saved.
        identity: what the run depends on (settings, seed, length), compared by its ``repr``: a file
            of another run is not restored but overwritten.
        parts: objects with a ``state_dict``, by their keys in the file.
        device: of the model.
    """

    def __init__(
        self, path: Path | None, identity: object, parts: dict[str, Any], device: torch.device
    ) -> None:
        self._path = path
        self._identity = repr(identity)
        self._device = device
        self._parts = parts
        self._last_saved = time.monotonic()

    def restore(self, most_steps: float = math.inf) -> tuple[TrainingRun, Any]:
        """Load the saved state into the parts and the random sources.

        A damaged file, or one of another model, is set aside, and the run starts again.

        Args:
            most_steps: that a saved run may have done; one with more is not restored.

        Returns:
            what the saved run has done, and its carry; a new run and None where nothing, or another
            run, was saved.
        """
        if self._path is None or not self._path.exists():
            return TrainingRun(), None
        before = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts.items()}
        random = torch.get_rng_state()
        try:
            state = _read(self._path)
            if state["identity"] != self._identity or state["run"]["steps"] > most_steps:
                return TrainingRun(), None
            return self._load(state)
        except Exception as error:  # of the file, of pickle, of any part
            if is_out_of_memory(error):
                raise
            for name, part in self._parts.items():
                part.load_state_dict(before[name])
            torch.set_rng_state(random)
            set_aside(self._path, "is not a checkpoint of this training, which starts again")
            return TrainingRun(), None

    def _load(self, state: dict[str, Any]) -> tuple[TrainingRun, Any]:
        """Give the parts and the random sources a saved state; the run and its carry.

        Args:
            state: as ``save`` wrote it.
        """
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["device_random"], self._device)
        return TrainingRun(**state["run"]), _to_device(state["carry"], self._device)

    def save_if_due(self, run: TrainingRun, carry: Any) -> None:
        """Save where the last checkpoint is older than CHECKPOINT_SECONDS.

        Args:
            run: what has been done.
            carry: of the task's loss, for the next batch.
        """
        if time.monotonic() - self._last_saved > CHECKPOINT_SECONDS:
            self.save(run, carry)

    def save(self, run: TrainingRun, carry: Any) -> None:
        """Write the file, if there is a path.

        Args:
            run: what has been done.
            carry: of the task's loss, for the next batch.
        """
        if self._path is None:
            return
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"random": torch.get_rng_state(), "run": vars(run), "carry": carry}
        if self._device.type == "cuda":
            state["device_random"] = torch.cuda.get_rng_state(self._device)
        state["identity"] = self._identity
        buffer = io.BytesIO()  # torch's own file writer hides why a write failed
        torch.save(state, buffer)
        with replacing(self._path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        self._last_saved = time.monotonic()


def _read(path: Path) -> dict[str, Any]:
    """The state in a file, whose checksums are right; torch does not look at them.

    Args:
        path: of the file.
    """
    data = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(data) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(damaged)
    data.seek(0)
    state: dict[str, Any] = torch.load(data, weights_only=True, map_location="cpu")
    return state


def _to_device(carry: Any, device: torch.device) -> Any:
    """A carry with its tensors on a device."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), carry)
