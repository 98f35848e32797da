"""Operations that compute each entry from the same entries of their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from autoquant.exports.c.literals import literal
from autoquant.exports.c.lowering import Lowering, Value, arguments, lowers, name_of
from autoquant.exports.c.memory import View
from autoquant.exports.c.places import refused

EXPRESSIONS = {
    "abs": "fabsf({0})",
    "neg": "-{0}",
    "exp": "expf({0})",
    "expm1": "expm1f({0})",
    "log": "logf({0})",
    "log1p": "log1pf({0})",
    "log2": "log2f({0})",
    "log10": "log10f({0})",
    "sqrt": "sqrtf({0})",
    "rsqrt": "1.0f / sqrtf({0})",
    "reciprocal": "1.0f / {0}",
    "sin": "sinf({0})",
    "cos": "cosf({0})",
    "erf": "erff({0})",
    "floor": "floorf({0})",
    "ceil": "ceilf({0})",
    "trunc": "truncf({0})",
    "round": "nearbyintf({0})",
    "sign": "(float)(({0} > 0) - ({0} < 0))",
    "sigmoid": "sigmoid({0})",
    "tanh": "hyperbolic({0})",
    "relu": "at_least({0}, 0.0f)",
    "mul": "{0} * {1}",
    "maximum": "{0} > {1} ? {0} : {1}",
    "minimum": "{0} < {1} ? {0} : {1}",
    "pow": "powf({0}, {1})",
    "fmod": "fmodf({0}, {1})",
    "eq": "{0} == {1}",
    "ne": "{0} != {1}",
    "lt": "{0} < {1}",
    "le": "{0} <= {1}",
    "gt": "{0} > {1}",
    "ge": "{0} >= {1}",
    "logical_not": "!{0}",
    "bitwise_not": "!{0}",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_xor": "!{0} != !{1}",
    "bitwise_and": "{0} & {1}",
    "bitwise_or": "{0} | {1}",
    "where": "{0} ? {1} : {2}",
}
"""C expressions of operations without further arguments."""
_OVERLOADS = (
    "", ".Tensor", ".Scalar", ".self", ".Tensor_Scalar", ".Tensor_Tensor", ".Scalar_Tensor",
)  # fmt: skip
_SAME_TYPE = ("abs", "neg", "mul", "maximum", "minimum", "relu", "add", "sub", "sign")
"""Operations whose operands have the type of their result."""
_TESTS = ("eq", "ne", "lt", "le", "gt", "ge")


def _plain(lowering: Lowering, node: Node) -> Value:
    """An operation of EXPRESSIONS."""
    name = name_of(node).partition(".")[0]
    _only(node, len(arguments(node)))
    integers = _kind(lowering, node) == "int32_t"
    expression = EXPRESSIONS[name]
    if integers and name in ("abs", "relu"):
        expression = {"abs": "{0} < 0 ? -{0} : {0}", "relu": "{0} < 0 ? 0 : {0}"}[name]
    if integers and name == "sign":
        expression = "({0} > 0) - ({0} < 0)"
    if integers and name == "bitwise_not" and node.meta["val"].dtype != torch.bool:
        expression = "~{0}"
    if name == "pow" and arguments(node)[1] in (2, 2.0):
        return entries(lowering, node, "{0} * {0}", arguments(node)[:1])
    if name == "pow" and arguments(node)[1] in (0.5, -0.5):
        root = "sqrtf({0})" if arguments(node)[1] == 0.5 else "1.0f / sqrtf({0})"
        return entries(lowering, node, root, arguments(node)[:1])
    as_floats = not integers and name not in ("where", *_TESTS)
    return entries(lowering, node, expression, arguments(node), as_floats=as_floats)


for _name in EXPRESSIONS:
    lowers(*(f"{_name}{overload}" for overload in _OVERLOADS))(_plain)


def entries(
    lowering: Lowering,
    node: Node,
    expression: str,
    arguments: Any,
    *,
    as_floats: bool = True,
) -> View:
    """The result of an operation on entries.

    Args:
        lowering: gets its statement.
        node: the operation.
        expression: with {0}, {1}, ... for its arguments.
        arguments: nodes and numbers.
        as_floats: whether whole numbers among them become floats first.
    """
    inputs: list[View] = []
    cells: list[str] = []
    for argument in arguments:
        number = _number(lowering, argument)
        if number is not None:
            floats = as_floats or isinstance(number, float)
            text = literal(float(number) if floats else number)
            cells.append(f"({text})" if text.startswith("-") else text)
            continue
        view = lowering.view(argument)
        convert = as_floats and view.buffer.kind != "float"
        cells.append(f"(float){{{len(inputs)}}}" if convert else f"{{{len(inputs)}}}")
        inputs.append(view)
    name = name_of(node).removeprefix("autoquant_export.").partition(".")[0]
    out = lowering.result(lowering.cost(name))
    lowering.each(out, inputs, expression.format(*cells))
    return out


def _number(lowering: Lowering, argument: Any) -> Any:
    """An argument that is one number, or a tensor that holds nothing else; None for others."""
    if not isinstance(argument, Node):
        return argument
    value = lowering.values[argument]
    if not isinstance(value, Tensor) or not value.numel() or value.dtype == torch.bool:
        return None
    first = value.reshape(-1)[0]
    return first.item() if bool((value == first).all()) else None


def _kind(lowering: Lowering, node: Node) -> str:
    return lowering.kind(node.meta["val"].dtype)


def _only(node: Node, count: int) -> None:
    """Raise a UserError for arguments by name that change the result.

    Args:
        node: the operation.
        count: of arguments by position that are handled.
    """
    extra = {k: v for k, v in node.kwargs.items() if v is not None}
    if extra or len(arguments(node)) > count:
        raise refused(node, f"its arguments {extra or arguments(node)[count:]} are not supported")


@lowers("add.Tensor", "add.Scalar", "sub.Tensor", "sub.Scalar")
def _sum(lowering: Lowering, node: Node) -> Value:
    sign = "+" if "add" in str(node.target) else "-"
    alpha: Any = node.kwargs.get("alpha", arguments(node)[2] if len(arguments(node)) > 2 else 1)
    as_floats = _kind(lowering, node) == "float"
    factor = literal(float(alpha) if as_floats else alpha)
    second = "{1}" if alpha == 1 else f"{factor} * {{1}}"
    return entries(
        lowering, node, f"{{0}} {sign} {second}", arguments(node)[:2], as_floats=as_floats
    )


@lowers("div.Tensor", "div.Scalar")
def _quotient(lowering: Lowering, node: Node) -> Value:
    _only(node, 2)
    return entries(lowering, node, "{0} / {1}", arguments(node))


@lowers("clamp", "hardtanh")
def _clamp(lowering: Lowering, node: Node) -> Value:
    ends: list[Any] = [*arguments(node)[1:], None, None][:2]
    if name_of(node) == "hardtanh":
        ends = [
            end if end is not None else default
            for end, default in zip(ends, (-1.0, 1.0), strict=True)
        ]
    integers = _kind(lowering, node) == "int32_t"
    low, high = (None if e is None else literal(e if integers else float(e)) for e in ends)
    if integers:
        first = "{0}" if low is None else f"({{0}} < {low} ? {low} : {{0}})"
        text = first if high is None else f"{first} > {high} ? {high} : {first}"
    else:
        text = "{0}" if low is None else f"at_least({{0}}, {low})"
        text = text if high is None else f"at_most({text}, {high})"
    return entries(lowering, node, text, arguments(node)[:1], as_floats=not integers)


@lowers("leaky_relu")
def _leaky_relu(lowering: Lowering, node: Node) -> Value:
    slope = literal(float(arguments(node)[1] if len(arguments(node)) > 1 else 0.01))
    return entries(lowering, node, f"{{0}} > 0 ? {{0}} : {slope} * {{0}}", arguments(node)[:1])


@lowers("elu")
def _elu(lowering: Lowering, node: Node) -> Value:
    given = [*arguments(node)[1:], *(1.0, 1.0, 1.0)[len(arguments(node)) - 1 :]]
    alpha, scale, inner = (literal(float(value)) for value in given)
    negative = f"{alpha} * expm1f({inner} * {{0}})"
    return entries(
        lowering, node, f"{scale} * ({{0}} > 0 ? {{0}} : {negative})", arguments(node)[:1]
    )


@lowers("gelu")
def _gelu(lowering: Lowering, node: Node) -> Value:
    text = "0.5f * {0} * (1.0f + erff({0} * 0.70710677f))"
    if node.kwargs.get("approximate") == "tanh":
        inner = "0.7978846f * ({0} + 0.044715f * {0} * {0} * {0})"
        text = f"0.5f * {{0}} * (1.0f + hyperbolic({inner}))"
    return entries(lowering, node, text, arguments(node)[:1])


@lowers("_to_copy")
def _to(lowering: Lowering, node: Node) -> Value:
    out = node.meta["val"].dtype
    kind = lowering.kind(out)
    cast = "{0}" if kind == "float" else "(int32_t){0}"
    if out == torch.bool:
        cast = "{0} != 0"
    return entries(lowering, node, cast, arguments(node)[:1], as_floats=kind == "float")


@lowers("full_like", "zeros_like", "ones_like", "new_full", "new_zeros", "new_ones")
def _filled(lowering: Lowering, node: Node) -> Value:
    value = node.meta["val"]
    name = name_of(node)
    fill: Any = 0 if "zeros" in name else 1 if "ones" in name else arguments(node)[-1]
    return torch.full(tuple(value.shape), fill, dtype=value.dtype)
