"""The functions that propagate units through operations, by the operations' names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call
from autoquant.graph.tracing.values import Value


class PropagateUnits(Protocol):
    """A function that says which units the results of an operation are made of."""

    def __call__(self, state: PropagationState, call: Call, /) -> Value | list[Value]:
        """Propagate the units of one recorded call; called once for each, in order.

        It reads the values of the operands with ``state.read``, and binds or freezes their units
        where the operation reads several of them together (``state.bind_across``). If it raises an
        AttributeError, IndexError, TypeError or ValueError, units stop as for an unknown operation.

        Args:
            state: the values of all tensors so far.
            call: the operation: its arguments, with a Ref in place of each tensor, and results.

        Returns:
            The value of the result, or one value for each. Its ``ids`` have as many axes as the
            result, each of the result's size or of size 1; others are refused and frozen.
        """
        ...


Function = TypeVar("Function", bound=PropagateUnits)

OPERATIONS: dict[str, PropagateUnits] = {}  # by ``Call.target``
POINTWISE = "autoquant::pointwise"  # all operations that ATen tags as working entry by entry
ATTENTION = "scaled_dot_product_attention"


def operation(*names: str) -> Callable[[Function], Function]:
    """Register the decorated function for operations, also for those that have one already.

    The function follows ``PropagateUnits``. ``Value``, which it returns, is in
    ``autoquant.graph.tracing.values``; ``argument``, which reads an argument of a call, in
    ``autoquant.graph.tracing.operations``. An operation that works entry by entry needs one line::

        @operation("mylib::wiggle")
        def wiggle(state: PropagationState, call: Call) -> Value:
            return state.read(call.operands[0])

    Args:
        names: of operations, without their overloads; one in place (``relu_``) needs no name of its
            own. Of ATen without namespace ("softmax", see
            ``native_functions.yaml`` of torch), of any other library with it ("mylib::shift").

    Returns:
        a decorator of a ``PropagateUnits``.
    """

    def register(function: Function) -> Function:
        OPERATIONS.update((_target(name), function) for name in names)
        return function

    return register


def operation_of(call: Call) -> PropagateUnits | None:
    """The function for an operation, or None where units stop at it.

    Args:
        call: the operation.
    """
    if call.name.startswith("_scaled_dot_product"):  # each kernel has its own
        return OPERATIONS[_target(ATTENTION)]
    in_place = call.target.endswith("_") and call.target[:-1]  # as the one that returns a new value
    function = OPERATIONS.get(call.target) or OPERATIONS.get(in_place or "")
    return OPERATIONS[_target(POINTWISE)] if function is None and call.pointwise else function


def _target(name: str) -> str:
    """The name as recorded calls have it.

    >>> _target("softmax"), _target("mylib::shift")
    ('aten.softmax', 'mylib.shift')
    """
    namespace, _, short = name.rpartition("::")
    return f"{namespace or 'aten'}.{short}"


def argument(call: Call, position: int, name: str, default: Any = None) -> Any:
    """An argument of a call, given by position or by name.

    Args:
        call: an operation.
        position: of the argument in the operation's signature.
        name: of the argument.
        default: where it was not given.
    """
    if len(call.args) > position:
        return call.args[position]
    return call.kwargs.get(name, default)
