"""How far an export is from the loaded model, on the same inputs and states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs
from autoquant.exports.layers import StackLayer
from autoquant.exports.recording import Recording
from autoquant.exports.target_model import target_model
from autoquant.exports.written import Runner


@dataclass(frozen=True)
class Comparison:
    """Differences of an export's outputs.

    Attributes:
        largest: of all outputs, relative to the largest magnitude of each.
        codes: how many codes of hidden states differ, at most by ``code_difference``.
        of: how many there are.
        code_difference: the largest difference of a hidden state, in codes.
    """

    largest: float
    codes: int
    of: int
    code_difference: float

    def __str__(self) -> str:
        text = f"{self.largest:.1e} of the largest output"
        if not self.of:
            return text
        if not self.codes:
            return f"{text}; all {self.of} hidden codes are equal"
        most = f"by {self.code_difference:.0f} at most"
        return f"{text}; {self.codes} of {self.of} hidden codes differ, {most}"


def compare(recording: Recording, runner: Runner) -> Comparison:
    """Compare an export with the loaded model on the example.

    Args:
        recording: of the export.
        runner: runs it.
    """
    source = recording.source
    pairs = [*_pairs(recording, runner)]
    outputs = [(ours, theirs) for name, ours, theirs in pairs if "." not in name]
    largest = max((_relative(*pair) for pair in outputs), default=0.0)
    codes, of, most = 0, 0, 0.0
    for name, ours, theirs in pairs:
        scales = _scales(source.stacks, name)
        if scales is None:
            continue
        difference = np.abs(np.rint((ours - theirs) / scales))
        codes, of = codes + int((difference > 0).sum()), of + difference.size
        most = max(most, float(difference.max()))
    return Comparison(largest, codes, of, most)


def _pairs(
    recording: Recording, runner: Runner
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Each output and returned state by its name, from the model and from the export."""
    source = recording.source
    inputs, keywords = copy_inputs((source.example.inputs, {**source.example.keywords}), None)
    with torch.no_grad():
        ours = pytree.tree_leaves(source.model(*inputs, **keywords))
        theirs = pytree.tree_leaves(target_model(recording, runner)(*inputs, **keywords))
    for name, mine, other in zip(recording.leaves, ours, theirs, strict=True):
        if isinstance(mine, Tensor) and mine.is_floating_point():
            yield name, mine.numpy(), other.numpy()


def _relative(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest difference, relative to the largest magnitude."""
    scale = float(np.abs(ours).max(initial=0.0)) or 1.0
    return float(np.abs(ours - theirs).max(initial=0.0)) / scale


def _scales(stacks: tuple[StackLayer, ...], name: str) -> NDArray[Any] | None:
    """The scales of a hidden state, one for each layer and direction, [L*D, 1, 1].

    Args:
        stacks: of the model.
        name: of the state after the last step.

    Returns:
        None where the name is of something else, or codes are not what the state has.
    """
    stack = next((each for each in stacks if name == f"{each.name}.h_next"), None)
    if stack is None:
        return None
    hidden = [layer.hidden for layer in stack.layers for _ in range(stack.directions)]
    if any(each is None or not each.coded for each in hidden):
        return None
    scales = [each.scale for each in hidden if each is not None]
    return np.array(scales, np.float32).reshape(-1, 1, 1)
