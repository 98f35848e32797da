"""The distribution: the name that pip installs this package by, and its extras."""

NAME = "autoquant-torch"
"""Not the name of the package: on the index, ``autoquant`` is another product."""


def extra_command(extra: str) -> str:
    """The command that installs what an optional part of this package needs.

    Args:
        extra: one of the extras in ``pyproject.toml``.

    >>> extra_command("onnx")
    "pip install 'autoquant-torch[onnx]'"
    """
    return f"pip install '{NAME}[{extra}]'"
