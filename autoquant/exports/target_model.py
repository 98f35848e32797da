"""A model that computes in another runtime and is called as the loaded one is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.exports.ports import BATCH
from autoquant.exports.probe import StateArgument
from autoquant.exports.recording import Recording
from autoquant.exports.written import Runner


def target_model(recording: Recording, runner: Runner) -> nn.Module:
    """A copy of the loaded model whose forward runs the export.

    Args:
        recording: of the export; gives the names of its tensors.
        runner: runs it.
    """
    source = recording.source
    model = copy_model(source.model)
    signature = inspect.signature(model.forward)
    vars(model)["forward"] = partial(_forward, recording, runner, source.state_argument, signature)
    return model


def _forward(
    recording: Recording,
    runner: Runner,
    state: StateArgument | None,
    signature: inspect.Signature,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """A pass.

    Args:
        recording: of the export.
        runner: runs it.
        state: the argument that hands a state back, or None.
        signature: of the model's forward.
        args: as the model takes them.
        kwargs: as the model takes them.

    Raises:
        UserError: the inputs are not those that were exported.
    """
    given = signature.bind(*args, **kwargs).arguments
    handed = given.pop(state.name, None) if state else None
    tensors = [leaf for leaf in pytree.tree_leaves([*given.values()]) if isinstance(leaf, Tensor)]
    names = [port.name for port in recording.inputs]
    if len(tensors) != len(names):
        raise UserError(f"the export takes {', '.join(names)}, got {len(tensors)} tensors")
    feeds = {name: leaf.detach().numpy() for name, leaf in zip(names, tensors, strict=True)}
    feeds |= _states(recording, feeds, state, handed)
    results = runner(feeds)
    leaves = [
        torch.from_numpy(np.ascontiguousarray(results[name])) if name else None
        for name in recording.leaves
    ]
    return pytree.tree_unflatten(leaves, recording.structure)


def _states(
    recording: Recording, feeds: Mapping[str, Any], state: StateArgument | None, handed: Any
) -> dict[str, Any]:
    """The states that go in.

    Args:
        recording: of the export.
        feeds: the inputs.
        state: the argument that hands a state back, or None.
        handed: what it was given, or None.
    """
    batch = batch_of(recording, feeds)
    states = {each.port.name: each.start(batch) for each in recording.states}
    if state is None or handed is None:
        return states
    parts = [leaf.detach().numpy() for leaf in pytree.tree_leaves(handed)]
    names = [each.port.name for each in recording.states if each.stack in state.stacks]
    return states | dict(zip(names, parts, strict=True))


def batch_of(recording: Recording, feeds: Mapping[str, Any]) -> int:
    """The size of the batch.

    Args:
        recording: of the export.
        feeds: its inputs, by name.
    """
    for port in recording.inputs:
        if BATCH in port.shape:
            return int(feeds[port.name].shape[port.shape.index(BATCH)])
    return 1
