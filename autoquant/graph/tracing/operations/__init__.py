"""How each operation propagates units: one function an operation, found by the operation's name.

This is an extension point. An operation that has no function freezes the units that reach it; it is
added from outside by registering one:

    from autoquant.graph.tracing.operations import operation

    @operation("mylib::reverse_time")  # or an operation of ATen, without its namespace
    def reverse_time(state, call):
        value = state.read(call.args[0])  # [B, T, C]
        if value.ids is not None and varies(value.ids, 1):  # units along the reversed axis
            return state.stop(call)
        return value.with_ids(value.ids)

Every module of this folder is imported here, so that a function is registered as soon as its file
exists.
"""

from importlib import import_module
from pkgutil import iter_modules

from autoquant.graph.tracing.operations.registry import (
    PropagateUnits,
    argument,
    operation,
    operation_of,
)

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = ["PropagateUnits", "argument", "operation", "operation_of"]
