"""Matrix products and attention."""

from __future__ import annotations

from autoquant.graph.tracing.operations.registry import ATTENTION, operation
from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call
from autoquant.graph.tracing.values import Value


@operation("mm", "bmm", "matmul", "baddbmm", "addmm", "mv", "dot", "addmv")
def matmul(state: PropagationState, call: Call) -> Value:
    """[..., M, K] times [..., K, N], perhaps added to another value: read across K.

    See ``PropagateUnits.__call__``.
    """
    added = call.name in ("baddbmm", "addmm", "addmv")
    left_ref, right_ref = call.args[1:3] if added else call.args[:2]
    if len(left_ref.shape) < 2 or len(right_ref.shape) < 2:
        return state.stop(call)
    if added and state.read(call.args[0]).ids is not None:
        return state.stop(call)
    left, right = state.read(left_ref).ids, state.read(right_ref).ids
    left = None if left is None else state.bind_across(left, [-1], call)
    right = None if right is None else state.bind_across(right, [-2], call)
    return Value(state.multiply(left, right, call), data=True)


@operation(ATTENTION)
def attention(state: PropagationState, call: Call) -> list[Value]:
    """softmax(Q K^T) V of [..., H, L, D]: read across D, so units grow as whole heads or not.

    See ``PropagateUnits.__call__``.
    """
    all_ids = [state.read(ref).ids for ref in call.args[:3]]
    read = [None if ids is None else state.bind_across(ids, [-1], call) for ids in all_ids]
    heads = state.attend(read, call)
    return [Value(heads, data=True), *[Value(data=True) for _ in call.results[1:]]]
