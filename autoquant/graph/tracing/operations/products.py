"""Matrix products and attention."""

from __future__ import annotations

from autoquant.graph.tracing.operations.registry import ATTENTION, operation
from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call, Ref
from autoquant.graph.tracing.values import Value


@operation("mm", "bmm", "matmul", "mv", "dot", "_sparse_mm")
def matmul(state: PropagationState, call: Call) -> Value:
    """[..., M, K] times [..., K, N]: read across K.

    See ``PropagateUnits.__call__``.
    """
    return _product(state, call, *call.args[:2])


@operation("baddbmm", "addmm", "addmv", "_sparse_addmm")
def add_matmul(state: PropagationState, call: Call) -> Value:
    """A product that is added to another value, [M, N] or broadcast to it.

    See ``PropagateUnits.__call__``.
    """
    added, product = state.read(call.args[0]), _product(state, call, *call.args[1:3])
    if added.uniform or (added.ids is None and product.ids is None):
        return product
    ndim = len(call.result.shape)
    ids = (
        None
        if added.ids is None
        else added.ids.reshape((1,) * (ndim - added.ids.ndim) + added.ids.shape)
    )
    return Value(
        state.combine(call, (added, product), (ids, product.ids), (call.args[0], call.result)),
        data=True,
    )


def _product(state: PropagationState, call: Call, left_ref: Ref, right_ref: Ref) -> Value:
    """The value of a matrix product.

    Args:
        state: the values of all tensors so far.
        call: the operation.
        left_ref: of [..., M, K].
        right_ref: of [..., K, N].
    """
    if len(left_ref.shape) < 2 or len(right_ref.shape) < 2:
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
