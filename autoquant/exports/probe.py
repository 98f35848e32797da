"""What a pass of a model shows of its recurrent stacks, before the model is recorded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_inputs
from autoquant.errors import UserError, first_line
from autoquant.layers.stack import Recurrent
from autoquant.task import Example


@dataclass(frozen=True)
class StackCall:
    """One call of a stack.

    Attributes:
        steps: time steps T.
        batch: sequences B.
        given: parts of the state that user code gave; none where it gave none.
        last: parts of the state after the last step.
    """

    steps: int
    batch: int
    given: tuple[Tensor, ...]
    last: tuple[Tensor, ...]


@dataclass(frozen=True)
class Pass:
    """A pass of a model.

    Attributes:
        output: what the model returned.
        calls: of its stacks, by their names; the last call of each.
    """

    output: Any
    calls: Mapping[str, StackCall]


def run(model: nn.Module, example: Example, **more: Any) -> Pass:
    """Run a model and note the calls of its stacks.

    Args:
        model: that was loaded; it is left as it is.
        example: what it is called with.
        more: further arguments by name.

    Raises:
        UserError: the model cannot be called so.
    """
    calls: dict[str, StackCall] = {}
    handles = [
        module.register_forward_hook(partial(_note, calls, name), with_kwargs=True)
        for name, module in model.named_modules()
        if isinstance(module, Recurrent)
    ]
    inputs, keywords = copy_inputs((example.inputs, {**example.keywords}), None)
    try:
        with torch.no_grad():
            output = model(*inputs, **keywords, **more)
    except Exception as error:
        raise UserError(f"the model must run on its example, got {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return Pass(output, calls)


def _note(
    calls: dict[str, StackCall], name: str, module: Recurrent, args: Any, kwargs: Any, output: Any
) -> None:
    """A forward hook of a stack.

    Args:
        calls: gets the call.
        name: of the stack.
        module: the stack.
        args: of its forward.
        kwargs: of its forward.
        output: that it returned.
    """
    bound = inspect.signature(Recurrent.forward).bind(module, *args, **kwargs).arguments
    inputs, hx = bound["input"], bound.get("hx")
    if not isinstance(inputs, Tensor):
        return
    steps, batch = (*inputs.shape[:-1], 1)[:2]
    if inputs.ndim == 3 and module.batch_first:
        steps, batch = batch, steps
    calls[name] = StackCall(steps, batch, _parts(hx), _parts(output[1]))


def _parts(state: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor))


@dataclass(frozen=True)
class StateArgument:
    """The argument of a model by which user code hands a recurrent state back to it.

    Attributes:
        name: of the argument.
        stacks: names of the stacks that read it, in the order of its parts.
        returned: what the model returned in its place.
    """

    name: str
    stacks: tuple[str, ...]
    returned: Any


def state_argument(model: nn.Module, example: Example, seen: Pass) -> StateArgument | None:
    """The optional argument that takes a state which the model returns; None where there is none.

    Args:
        model: that was loaded.
        example: what it is called with.
        seen: a pass on the example.
    """
    returned = seen.output if isinstance(seen.output, tuple | list) else ()
    names = _optional(model, example)
    for part in returned:
        stacks = _stacks_of(part, seen.calls)
        for name in names if stacks else ():
            try:
                again = run(model, example, **{name: part})
            except UserError:
                continue
            leaves = pytree.tree_leaves(part)
            if _same(leaves, [leaf for stack in stacks for leaf in again.calls[stack].given]):
                return StateArgument(name, tuple(stacks), part)
    return None


def _optional(model: nn.Module, example: Example) -> list[str]:
    """Names of the arguments that default to None and that the example does not give."""
    parameters = [*inspect.signature(model.forward).parameters.values()]
    free = parameters[len(example.inputs) :]
    return [
        parameter.name
        for parameter in free
        if parameter.default is None and parameter.name not in example.keywords
    ]


def _stacks_of(part: Any, calls: Mapping[str, StackCall]) -> list[str]:
    """The stacks whose last states a part of an output consists of; none if it has other tensors.

    Args:
        part: of what a model returned.
        calls: of its stacks.
    """
    owners = {id(leaf): name for name, call in calls.items() for leaf in call.last}
    leaves = [leaf for leaf in pytree.tree_leaves(part) if isinstance(leaf, Tensor)]
    if not leaves or any(id(leaf) not in owners for leaf in leaves):
        return []
    return [*dict.fromkeys(owners[id(leaf)] for leaf in leaves)]


def _same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))
