"""What a model did with one input: calls of its known layers, and operations, in order.

The model runs as it is, eagerly, on example inputs: whatever its forward pass does in Python is
recorded. torch.fx cannot go through loops and branches on values, torch.export through packed
sequences and lengths read from data; neither is needed, since widths do not depend on the data.
Where the forward pass does branch on data, that is recorded too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from autoquant.copies import is_packed
from autoquant.graph.tracing import lines

_READS = {
    *("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__"),
    *("__array__", "__dlpack__", "data_ptr"),
}
_SET_DATA: Any = Tensor.data.__set__  # type: ignore[attr-defined]
_READING = {"aten._local_scalar_dense", "aten.equal"}
"""Operations that return no tensor but what they read of one."""


@dataclass(eq=False)
class Ref:
    """A reference to a tensor that the model was given or computed; the tensor is not kept.

    Attributes:
        shape: the tensor's.
        dtype: the tensor's.
        base: of the tensor that it is a view of, if it is one.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    base: Ref | None = None


@dataclass(frozen=True)
class Call:
    """One call of a layer or of an operation.

    Attributes:
        target: a layer's name, an operation ("aten.add"), or "dropout" (of probability ``args[1]``,
            which leaves no operation in eval mode), "read" (of a value, by Python) and "output".
        layer: whether ``target`` is a known layer.
        args: arguments by position, with a Ref in place of each tensor.
        kwargs: arguments by name, in the same way.
        result: what was returned, in the same way.
        where: the line of the user's code, as "model.py:12"; empty where there is none.
        writes: tensors that it wrote into, and those that they are views of.
        pointwise: whether ATen tags the operation as working entry by entry.
    """

    target: str
    layer: bool
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    where: str
    writes: tuple[Ref, ...] = ()
    pointwise: bool = False

    @property
    def mark(self) -> str:
        """The target of what is no layer; a layer may have the name of a mark, such as "output"."""
        return "" if self.layer else self.target

    @property
    def name(self) -> str:
        """The target; for an operation of ATen without its namespace."""
        return self.target.removeprefix("aten.")

    @property
    def operands(self) -> list[Ref]:
        """All tensors that were given, by position and then by name."""
        return refs_in((self.args, dict(self.kwargs)))

    @property
    def results(self) -> list[Ref]:
        """All tensors that were returned."""
        return refs_in(self.result)


@dataclass
class Record:
    """What happened in one forward pass.

    Attributes:
        calls: in order.
        inputs: tensors that the model was given.
        called: names of the known layers that were called.
        weights_read: known layers of which an operation outside them reads a parameter, and the
            first such operation.
        tensors: those outside the layers that the model has itself, and their names.
    """

    calls: list[Call] = field(default_factory=list)
    inputs: list[Ref] = field(default_factory=list)
    called: set[str] = field(default_factory=set)
    weights_read: dict[str, Call] = field(default_factory=dict)
    tensors: dict[Ref, str] = field(default_factory=dict)

    def live(self) -> list[Call]:
        """The calls that the output, or a branch, depends on."""
        needed: set[Ref] = set()
        live = []
        for call in reversed(self.calls):
            changed = {*call.results, *call.writes}
            if call.mark in ("output", "read") or changed & needed:
                needed.update(call.operands)
                live.append(call)
        return live[::-1]

    def sources(self) -> dict[Ref, frozenset[str]]:
        """Names of the model's own tensors, for all that is computed from nothing but these."""
        sources = {ref: frozenset([name]) for ref, name in self.tensors.items()}
        for call in self.calls:
            operands = [ref for ref in call.operands if ref.dtype.is_floating_point]
            if operands and all(ref in sources for ref in operands):
                names = frozenset().union(*(sources[ref] for ref in operands))
                for ref in call.results:
                    sources.setdefault(ref, names)
        return sources


def refs_in(tree: Any) -> list[Ref]:
    """The Refs of a tree of arguments, in pytree's order.

    Args:
        tree: nested tuples, lists and dictionaries.
    """
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Ref)]


@torch.no_grad()
def record(
    model: nn.Module,
    inputs: tuple[Any, ...],
    leaves: Mapping[str, nn.Module],
    keywords: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] = MappingProxyType({}),
) -> Record:
    """Run a model in eval mode and record what it does.

    Args:
        model: a prepared model.
        inputs: positional arguments of one forward pass, on the model's device.
        leaves: known layers by name; each call of one is one entry, its inside is not recorded.
        keywords: arguments by name of the forward pass.
        tensors: of the model outside its layers, by name.
    """
    keywords = dict(keywords or {})
    recorder = _Recorder()
    recorder.record.tensors.update(
        (recorder.refs(tensor), name) for name, tensor in tensors.items() if tensor.ndim
    )
    training = model.training
    model.eval()
    try:
        with ExitStack() as stack:
            for name, module in leaves.items():
                stack.enter_context(recorder.watching(name, module))
            recorder.record.inputs += refs_in(recorder.refs((inputs, keywords)))
            stack.enter_context(_Functions(recorder))
            stack.enter_context(recorder)
            output = model(*inputs, **keywords)
        recorder.note("output", (tensors_in(output),), {}, None)
    finally:
        model.train(training)
    return recorder.record


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a model's output, in pytree's order.

    Args:
        value: a tree of tensors. Of an object that pytree does not know, such as a packed sequence
            or a user's own output class, items or attributes are searched.
    """
    return list(_tensors(value, set()))


def _tensors(value: Any, searched: set[int]) -> Iterator[Tensor]:
    """All tensors; attributes may form a circle, so that no object is searched twice."""
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, PackedSequence):
            yield leaf.data
        elif not isinstance(leaf, type | nn.Module) and id(leaf) not in searched:
            searched.add(id(leaf))
            yield from _tensors(_parts(leaf), searched)


def _parts(leaf: Any) -> list[Any]:
    """What an object that pytree does not know is made of."""
    if isinstance(leaf, Mapping):
        return [*leaf.values()]
    if isinstance(leaf, tuple | list):
        return [*leaf]
    slots = (name for cls in type(leaf).__mro__ for name in getattr(cls, "__slots__", ()))
    named = [getattr(leaf, name, None) for name in slots] if not isinstance(leaf, str) else []
    return [*getattr(leaf, "__dict__", {}).values(), *named]


_RECORD: CodeType = record.__wrapped__.__code__  # type: ignore[attr-defined]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, and calls of the layers it watches.

    Attributes:
        record: what has been seen so far.
        depth: how many known layers are running, one inside another.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = Record()
        self.depth = 0
        self._refs: Any = WeakTensorKeyDictionary()
        self._owners: dict[Ref, str] = {}  # the known layer that a parameter belongs to

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it, unless a known layer runs it.

        Args:
            func: the operation with its overload.
            types: of the tensors given; unused.
            args: by position.
            kwargs: by name.
        """
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.depth == 0:
            self._note_operation(func, args, kwargs, result)
        return result

    def _note_operation(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Record an operation, what it wrote into, and what its results are views of.

        Args:
            func: the operation with its overload.
            args: by position.
            kwargs: by name.
            result: what it returned.
        """
        name = f"{func.namespace}.{func._schema.name.split('::')[1]}"
        if name in _READING:
            self.note("read", args, {}, None)
            return
        writes, base = self._written_and_viewed(func._schema.arguments, args, kwargs)
        is_view = not writes and base is not None
        for tensor in tensors_in(result) if is_view else ():
            ref = self._ref(tensor)
            if ref is not base:
                ref.base = base
        pointwise = _is_pointwise(func)
        call = self.note(name, args, kwargs, result, writes=writes, pointwise=pointwise)
        if not is_view:
            self._note_weights(call)

    def _note_weights(self, call: Call) -> None:
        """Note the known layers whose parameters an operation outside them reads."""
        for ref in call.operands:
            owner = self._owners.get(ref.base or ref)
            if owner is not None:
                self.record.weights_read.setdefault(owner, call)

    def write_data(self, tensor: Tensor, values: Tensor) -> None:
        """Record ``tensor.data = values``.

        Args:
            tensor: written into.
            values: what is written.
        """
        ref = self._ref(tensor)
        writes = (ref,) if ref.base is None else (ref, ref.base)
        self.note("aten.copy_", (tensor, values), {}, tensor, writes=writes, pointwise=True)

    def _written_and_viewed(
        self, schema: Sequence[Any], args: Any, kwargs: Any
    ) -> tuple[tuple[Ref, ...], Ref | None]:
        """Which arguments are written into (with what they are views of), and which is viewed.

        Args:
            schema: the operation's arguments, with what ATen knows of aliases.
            args: by position.
            kwargs: by name.
        """
        values = [*args, *(kwargs.get(argument.name) for argument in schema[len(args) :])]
        written: list[Ref] = []
        base: Ref | None = None
        for argument, value in zip(schema, values, strict=False):
            if argument.alias_info is not None and isinstance(value, Tensor):
                ref = self._ref(value)
                if argument.alias_info.is_write:
                    written += [ref] if ref.base is None else [ref, ref.base]
                base = base or ref.base or ref
        return tuple(written), base

    def note(
        self,
        target: str,
        args: Any,
        kwargs: Any,
        result: Any,
        *,
        layer: bool = False,
        writes: tuple[Ref, ...] = (),
        pointwise: bool = False,
    ) -> Call:
        """Record a call and return it; its fields are those of ``Call``, with tensors.

        Args:
            target: see ``Call``.
            args: by position.
            kwargs: by name.
            result: what was returned.
            layer: see ``Call``.
            writes: see ``Call``.
            pointwise: see ``Call``.
        """
        call_args, call_kwargs, call_result = self.refs((tuple(args), dict(kwargs), result))
        where = lines.running(_RECORD)
        call = Call(target, layer, call_args, call_kwargs, call_result, where, writes, pointwise)
        self.record.calls.append(call)
        return call

    def refs(self, tree: Any) -> Any:
        """The same tree with a Ref for each tensor, and for each packed sequence that of its data.

        Args:
            tree: of arguments or results.
        """
        return pytree.tree_map(self._replace, tree, is_leaf=is_packed)

    def _replace(self, leaf: Any) -> Any:
        if is_packed(leaf):
            return self._ref(leaf.data)
        return self._ref(leaf) if isinstance(leaf, Tensor) else leaf

    def _ref(self, tensor: Tensor) -> Ref:
        """The one Ref of a tensor."""
        if tensor not in self._refs:
            self._refs[tensor] = Ref(tuple(tensor.shape), tensor.dtype)
        ref: Ref = self._refs[tensor]
        return ref

    @contextmanager
    def watching(self, name: str, module: nn.Module) -> Iterator[None]:
        """Record the calls of a known layer, and not what it does inside.

        Its forward itself is watched: user code may call that instead of the module.

        Args:
            name: the layer's.
            module: the layer.
        """
        self._owners |= {self._ref(p): name for p in module.parameters(recurse=False)}
        forward, signature = module.forward, inspect.signature(module.forward)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            try:
                result = forward(*args, **kwargs)
            finally:
                self.depth -= 1
            if self.depth == 0:
                bound = signature.bind(*args, **kwargs)
                result = pytree.tree_map_only(Tensor, _distinct(args, kwargs), result)
                self.record.called.add(name)
                self.note(name, bound.args, bound.kwargs, result, layer=True)
            return result

        module.forward = watched
        try:
            yield
        finally:
            del module.forward


@cache
def _is_pointwise(func: Any) -> bool:
    """Whether ATen tags an operation as pointwise, or the one that it does in place."""
    name: str = func._schema.name
    plain = getattr(getattr(torch.ops, func.namespace), name.split("::")[1].rstrip("_"), None)
    counterparts = (
        [getattr(plain, o) for o in plain.overloads()] if name[-1] == "_" and plain else []
    )
    return any(torch.Tag.pointwise in overload.tags for overload in (func, *counterparts))


def _distinct(args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
    """Makes a new tensor of one that a layer was given and returns: that is another value."""
    leaves = pytree.tree_leaves((args, kwargs))
    given = {id(leaf) for leaf in leaves if isinstance(leaf, Tensor)}
    return lambda tensor: tensor.view_as(tensor) if id(tensor) in given else tensor


class _Functions(TorchFunctionMode):
    """Sees what leaves no operation: dropout in eval mode, and values that Python reads.

    Args:
        recorder: takes the calls.
    """

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, and record it where it is one of those.

        Args:
            func: the function.
            types: of the tensors given; unused.
            args: by position.
            kwargs: by name.
        """
        kwargs = kwargs or {}
        if self._recorder.depth:
            return func(*args, **kwargs)
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func == _SET_DATA:
            self._recorder.write_data(*args)
        if getattr(func, "__name__", "") in _READS:
            self._recorder.note("read", args[:1], {}, None)
        return func(*args, **kwargs)

    def _dropout(self, input: Tensor, p: float = 0.5, *_: Any, **__: Any) -> Tensor:
        """Dropout in eval mode, recorded; arguments as ``torch.nn.functional.dropout``.

        Args:
            input: any shape.
            p: probability.
        """
        result = input.view_as(input)
        self._recorder.note("dropout", (input, p), {}, result)
        return result
