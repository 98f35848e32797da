"""A recurrent model one time step at a time: inputs and states in, outputs and states out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs
from autoquant.errors import UserError
from autoquant.exports.ports import TIME
from autoquant.exports.recording import Recording, Source, axes_named, narrowed
from autoquant.layers.stack import Recurrent
from autoquant.task import Example

TOLERANCE = 1e-4
"""Largest difference of outputs between steps and the whole sequence, relative to the largest."""


class NoSteps(UserError):
    """A model that cannot be run one time step at a time; the message is the reason."""


def step_source(recording: Recording) -> Source:
    """The same source with an example of one time step.

    Args:
        recording: of sequences.

    Raises:
        NoSteps: a step is not enough for the model: it reads several at a time.
    """
    source = recording.source
    if not source.stacks:
        raise NoSteps("it has no recurrent layers")
    both = [stack.name for stack in source.stacks if stack.directions > 1]
    if both:
        raise NoSteps(f"{both[0]} runs in both directions")
    if not recording.states:
        raise NoSteps("its recurrent layers start from states of the model's own")
    axes = axes_named(recording, TIME)
    if not axes:
        raise NoSteps("no axis of its inputs is the time of its recurrent layers")
    _check_steps(recording, axes)
    return narrowed(source, axes)


def _check_steps(recording: Recording, axes: Mapping[str, int]) -> None:
    """Raise NoSteps unless steps give what the whole sequence gives.

    Args:
        recording: of sequences.
        axes: of time, by the names of inputs.
    """
    source = recording.source
    whole = _leaves(_run(source.model, source.example))
    steps = [*_steps(source, recording, axes)]
    for name, values, port in _outputs(recording, whole):
        last = dict(steps[-1][1])[name]
        if TIME in port.shape:
            axis = port.shape.index(TIME)
            parts = [leaf[1] for _, leaves in steps for leaf in leaves if leaf[0] == name]
            last = torch.cat(parts, axis)
        scale = float(values.abs().max()) or 1.0
        if last.shape != values.shape or float((last - values).abs().max()) > TOLERANCE * scale:
            raise NoSteps("its outputs depend on several time steps at once")


def _outputs(recording: Recording, leaves: list[Tensor]) -> Iterator[tuple[str, Tensor, Any]]:
    """The outputs of a pass that are no states: name, values and port."""
    ports = {port.name: port for port in recording.outputs}
    for name, leaf in zip(recording.leaves, leaves, strict=True):
        if name in ports and leaf.is_floating_point():
            yield name, leaf, ports[name]


def _steps(
    source: Source, recording: Recording, axes: Mapping[str, int]
) -> Iterator[tuple[int, list[tuple[str, Tensor]]]]:
    """Number and outputs of each step; the states are handed on.

    Args:
        source: the model and an example of a sequence.
        recording: of it.
        axes: of time, by the names of inputs.
    """
    states: dict[str, Any] = {}
    names = [port.name for port in recording.inputs]
    inputs = [leaf for leaf in _leaves(_trees(source.example)) if isinstance(leaf, Tensor)]
    first, axis = next(
        (leaf, axes[name]) for name, leaf in zip(names, inputs, strict=True) if name in axes
    )
    with _handing_on(source.model, states):
        for step in range(first.shape[axis]):
            example = _at(source.example, names, axes, step)
            leaves = _leaves(_run(source.model, example))
            outputs = [(name, values) for name, values, _ in _outputs(recording, leaves)]
            yield step, outputs


def _at(example: Example, names: list[str], axes: Mapping[str, int], step: int) -> Example:
    """One time step of an example.

    Args:
        example: of a sequence.
        names: of its tensors.
        axes: of time, by the names of inputs.
        step: its number.
    """
    rest = iter(names)

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        axis = axes.get(next(rest))
        return value if axis is None else value.narrow(axis, step, 1).contiguous()

    inputs, keywords = pytree.tree_map(one, _trees(example))
    return example._replace(inputs=inputs, keywords=keywords)


@contextmanager
def _handing_on(model: nn.Module, states: dict[str, Any]) -> Iterator[None]:
    """Let each stack of a model start from the state that its last call ended with.

    Args:
        model: that was loaded.
        states: gets the states, by the names of stacks.
    """
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, Recurrent):
            give, keep = partial(_give, states, name), partial(_keep, states, name)
            handles.append(module.register_forward_pre_hook(give, with_kwargs=True))
            handles.append(module.register_forward_hook(keep))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _give(
    states: dict[str, Any], name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """A forward pre-hook of a stack.

    Args:
        states: of all stacks.
        name: of the stack.
        module: the stack.
        args: of its forward.
        kwargs: of its forward.
    """
    if name not in states:
        return args, kwargs
    kwargs = {key: value for key, value in kwargs.items() if key != "hx"}
    return args[:1], {**kwargs, "hx": states[name]}


def _keep(states: dict[str, Any], name: str, module: nn.Module, args: Any, output: Any) -> None:
    """A forward hook of a stack.

    Args:
        states: of all stacks.
        name: of the stack.
        module: the stack.
        args: of its forward.
        output: that it returned.
    """
    states[name] = output[1]


def _run(model: nn.Module, example: Example) -> Any:
    inputs, keywords = copy_inputs(_trees(example), None)
    with torch.no_grad():
        return model(*inputs, **keywords)


def _trees(example: Example) -> tuple[Any, dict[str, Any]]:
    return example.inputs, {**example.keywords}


def _leaves(tree: Any) -> list[Any]:
    return pytree.tree_leaves(tree)
