"""What a model did with one input: calls of its known layers, and operations, in order.

The model runs as it is, eagerly, on example inputs: whatever its forward pass does in Python, it is
followed. torch.fx cannot go through loops and branches on values, torch.export through packed
sequences and lengths read from data; neither is needed, since widths do not depend on the data.
Where the forward pass does branch on data, that is recorded too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from autoquant.graph.tracing import lines

_READS = {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__"}


@dataclass(eq=False)
class Ref:
    """Stands for a tensor that the model made or was given.

    Attributes:
        base: the tensor that it is a view of.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    base: Ref | None = None


@dataclass(frozen=True)
class Call:
    """One thing that happened.

    Attributes:
        target: a layer's name, or "aten.add", "dropout", "read", "output".
        layer: whether it was a known layer that was called.
        given: arguments by position, with a Ref in place of each tensor.
        named: arguments by name.
        result: what came back, in the same way.
        where: the line of the user's code, as "model.py:12".
    """

    target: str
    layer: bool
    given: tuple[Any, ...]
    named: Mapping[str, Any]
    result: Any
    where: str
    writes: tuple[Ref, ...] = ()
    pointwise: bool = False


@dataclass
class Record:
    """All calls of one forward pass, and the tensors that it began with."""

    calls: list[Call] = field(default_factory=list)
    inputs: list[Ref] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    def live(self) -> list[Call]:
        """The calls that the output, or a branch, depends on."""
        wanted: set[Ref] = set()
        kept = []
        for call in reversed(self.calls):
            made = {*refs_in(call.result), *call.writes}
            if call.target in ("output", "read") or made & wanted:
                wanted.update(refs_in((call.given, dict(call.named))))
                kept.append(call)
        return kept[::-1]


def refs_in(tree: Any) -> list[Ref]:
    """The Refs of a tree of arguments."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Ref)]


@torch.no_grad()
def record(model: nn.Module, inputs: tuple[Any, ...], leaves: Mapping[str, nn.Module]) -> Record:
    """Run a model in eval mode and write down what it does.

    Args:
        leaves: known layers by name; each call of one is one entry, its inside is not recorded.
    """
    recorder = _Recorder()
    training = model.training
    model.eval()
    try:
        with ExitStack() as stack:
            for name, module in leaves.items():
                stack.enter_context(recorder.watching(name, module))
            recorder.record.inputs += refs_in(recorder.refs(inputs))
            stack.enter_context(_Functions(recorder))
            stack.enter_context(recorder)
            output = model(*inputs)
        recorder.note("output", (tensors_in(output),), {}, None)
    finally:
        model.train(training)
    return recorder.record


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a model's output, also inside objects that hold them as attributes."""
    found = []
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, type | nn.Module):
            found += tensors_in(dict(vars(leaf)))
    return found


_RUN: CodeType = record.__wrapped__.__code__  # type: ignore[attr-defined]


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation below autograd, and calls of the layers it watches."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = Record()
        self.depth = 0  # inside how many known layers
        self._known: Any = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.depth == 0:
            self._note_operation(func, args, kwargs, result)
        return result

    def _note_operation(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        schema = func._schema.arguments
        given = [*args, *(kwargs.get(each.name) for each in schema[len(args) :])]
        written, base = [], None
        for argument, value in zip(schema, given, strict=False):
            if argument.alias_info is not None and isinstance(value, Tensor):
                ref = self.refs(value)
                if argument.alias_info.is_write:
                    written += [ref] if ref.base is None else [ref, ref.base]
                base = base or ref.base or ref
        writes = bool(written)
        for each in tensors_in(result):
            made = self.refs(each)
            if not writes and base is not None and made is not base:
                made.base = base
        name = f"{func.namespace}.{func._schema.name.split('::')[1]}"
        pointwise = torch.Tag.pointwise in func.tags
        self.note(name, args, kwargs, result, writes=tuple(written), pointwise=pointwise)

    def note(self, target: str, args: Any, kwargs: Any, result: Any, **facts: Any) -> None:
        """Write a call down."""
        layer = facts.pop("layer", False)
        given, named, made = self.refs((tuple(args), dict(kwargs), result))
        self.record.calls.append(
            Call(target, layer, given, named, made, lines.running(_RUN), **facts)
        )

    def refs(self, tree: Any) -> Any:
        """The same tree with a Ref for each tensor; packed sequences are their data."""
        return pytree.tree_map(self._stand_in, tree, is_leaf=_is_packed)

    def _stand_in(self, leaf: Any) -> Any:
        if _is_packed(leaf):
            return self._ref(leaf.data)
        return self._ref(leaf) if isinstance(leaf, Tensor) else leaf

    def _ref(self, tensor: Tensor) -> Ref:
        if tensor not in self._known:
            self._known[tensor] = Ref(tuple(tensor.shape), tensor.dtype)
        ref: Ref = self._known[tensor]
        return ref

    @contextmanager
    def watching(self, name: str, module: nn.Module) -> Iterator[None]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.depth += 1

        def leave(module: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
            self.depth -= 1
            if self.depth == 0:
                result = pytree.tree_map_only(Tensor, _apart(args, kwargs), result)
                self.record.called.add(name)
                self.note(name, args, kwargs, result, layer=True)
            return result

        handles = [
            module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True),
            module.register_forward_hook(leave, with_kwargs=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _is_packed(value: Any) -> bool:
    return isinstance(value, PackedSequence)


def _apart(args: Any, kwargs: Any) -> Callable[[Tensor], Tensor]:
    """A layer may return what it was given: that is another value then."""
    given = {id(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
    return lambda tensor: tensor.view_as(tensor) if id(tensor) in given else tensor


class _Functions(TorchFunctionMode):
    """Sees what leaves no trace below: dropout in eval mode, and values read by Python."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._recorder.depth:
            return func(*args, **kwargs)
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if getattr(func, "__name__", "") in _READS:
            self._recorder.note("read", args[:1], {}, None)
        return func(*args, **kwargs)

    def _dropout(self, input: Tensor, p: float = 0.5, *_: Any, **__: Any) -> Tensor:
        result = input.view_as(input)
        self._recorder.note("dropout", (input, p), {}, result)
        return result
