"""Which layer and which line of user code an operation comes from."""

from __future__ import annotations

import re
from pathlib import Path

from torch.fx import Node

from autoquant.errors import UserError
from autoquant.exports.recording import PREFIX

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def layer_of(node: Node) -> str:
    """Name of the module that calls an operation; "" for the model itself.

    Args:
        node: the operation.
    """
    modules = [*(node.meta.get("nn_module_stack") or {}).values()]
    path = str(modules[-1][0]) if modules else ""
    path = path.removeprefix("L['self'].")
    return path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""


def line_of(node: Node) -> str:
    """File and line of the user code that calls an operation; "" where it is not known.

    Args:
        node: the operation.
    """
    frames: list[tuple[str, str]] = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "/torch/" not in frame[0] and "/autoquant/" not in frame[0]]
    if not own:
        return ""
    file, line = own[-1]
    return f"{Path(file).name}:{line}"


def refused(node: Node, what: str) -> UserError:
    """The error for an operation that no C code is written for.

    Args:
        node: the operation.
        what: it is, or is wrong with it.
    """
    name = str(node.target).removeprefix("aten.")
    layer, line = layer_of(node), line_of(node)
    where = f" in {layer}" if layer else ""
    where += f" ({line})" if line else ""
    return UserError(f"operations must be ones that the C export knows, got {name}{where}: {what}")
