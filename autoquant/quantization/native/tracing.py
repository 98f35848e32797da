"""Whether torch runs a model or records it: C code must never see a tensor that is recorded.

torch.compile, torch.export, torch.jit.trace, make_fx, FakeTensorMode and torch.func pass tensors
through Python code to see its operations. They do not see what C code does with an address: they
would record memory that nothing has written, or reorder what a structure keeps alive. So code that
calls C asks ``is_traced`` and then calls an operator of torch instead (see operator.py) or
computes with torch alone, and what torch.compile must not even look into is ``untraced``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., Any])

# bound once: these are asked before every call of a kernel
_is_grad_enabled = torch.is_grad_enabled
_is_compiling = torch.compiler.is_compiling
_is_dynamo_compiling = torch.compiler.is_dynamo_compiling
_jit_state = torch._C._get_tracing_state
_dispatch_modes = torch._C._len_torch_dispatch_stack
_functorch_level = torch._C._functorch.maybe_current_level
_includes = torch._C._dispatch_tls_is_dispatch_key_included
# get_eval_frame_callback of torch 2.6 gives a reference away that it does not own: after some ten
# thousand calls Python 3.11 has none left to None, and aborts.
_set_compiler = torch._C._dynamo.eval_frame.set_eval_frame
_PRE_DISPATCH = torch._C.DispatchKey.PreDispatch
_PLAIN_TYPES = frozenset((Tensor, torch.nn.Parameter))


def is_traced(*tensors: Tensor) -> bool:
    """Whether operations are recorded, transformed or intercepted, not only computed.

    True under torch.compile, export, jit.trace, make_fx, functorch's transforms and any dispatch
    mode, and for a tensor that intercepts operations by itself, as a FakeTensor does.

    Args:
        tensors: what the operations would get.
    """
    if (
        _is_compiling()
        or _jit_state() is not None
        or _dispatch_modes()
        or _functorch_level() is not None
        or _includes(_PRE_DISPATCH)
    ):
        return True
    return not _PLAIN_TYPES.issuperset(map(type, tensors)) and any(map(_intercepts, tensors))


def _intercepts(tensor: Tensor) -> bool:
    return torch._C._dispatch_keys(tensor).has(torch._C.DispatchKey.Python)


def is_differentiated(*tensors: Tensor) -> bool:
    """Whether autograd follows what is computed from some tensors, backward or forward.

    Args:
        tensors: operands.
    """
    if forward_ad._current_level >= 0:
        return True
    if _is_grad_enabled():
        for tensor in tensors:
            if tensor.requires_grad:
                return True
    return False


def is_compiled_inference(*tensors: Tensor) -> bool:
    """Whether torch.compile records operations, and autograd does not follow them.

    Args:
        tensors: operands.
    """
    return _is_dynamo_compiling() and not is_differentiated(*tensors)


def untraced(function: F) -> F:
    """A function that torch.compile never looks into, nor into what it calls.

    It then runs as it is, between two compiled pieces. Where nothing is compiled this costs a fifth
    of a microsecond, and torch's compiler is not imported.

    Args:
        function: what is called.

    Returns:
        the function that is called instead.
    """
    disabled: list[Callable[..., Any]] = []  # made once it is needed

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if not _is_compiling():
            # inline: torch.compile would look into a function of Python
            compiler = _set_compiler(None)
            if compiler is None:
                return function(*arguments, **options)
            _set_compiler(compiler)
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*arguments, **options)

    return call  # type: ignore[return-value]
