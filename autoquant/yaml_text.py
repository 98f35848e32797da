"""YAML that anybody may have written: read within bounds of size, depth and values.

Nothing but mappings, lists, texts, numbers, true, false and null comes out of it. Aliases
are expanded up to a limit; tags are refused; dates are texts.

Apart from ``reading``, so that what runs a packed file needs no YAML library.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import yaml

from autoquant.reading import UnreadableError, check_length

MAX_YAML_BYTES = 1_000_000
MAX_DEPTH = 50
"""Mappings and lists inside one another."""
MAX_NODES = 100_000
"""Values of a text, those that aliases repeat included."""
MAX_DIGITS = 100
"""Characters of a number."""


def read_yaml(text: str | bytes) -> Any:
    """The value of a YAML text.

    Args:
        text: of one document.

    Raises:
        UnreadableError: it is no YAML, too large or too deep, or it has a tag.
    """
    check_length(text, MAX_YAML_BYTES)
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UnreadableError(f"a syntax error{line}") from error
    except UnicodeDecodeError as error:
        raise UnreadableError("bytes that are no UTF-8 text") from error


@lru_cache(maxsize=10_000)  # each plan of a search names the same layers
def as_key(text: str) -> str:
    """A text as a key; quoted where YAML would read a number ("1.10") or nothing.

    Args:
        text: such as the name of a layer.
    """
    return yaml.safe_dump(text, allow_unicode=True, width=math.inf).split("\n")[0]


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader that counts what it composes."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] not in ("timestamp", "merge", "value")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0
        self._nodes_of_anchor: dict[str | None, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next value.

        Args:
            parent: that it is in.
            index: its place in the parent.
        """
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._nodes_of_anchor:
                raise UnreadableError("a value that contains itself")
            self._count(self._nodes_of_anchor.get(event.anchor, 0))
            return super().compose_node(parent, index)
        if event.tag is not None:
            raise UnreadableError("a tag, which is not allowed")
        before, anchor = self._nodes, event.anchor
        self._depth += 1
        self._count(1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if anchor is not None:
            self._nodes_of_anchor[anchor] = self._nodes - before
        return node

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise UnreadableError(f"more than {MAX_NODES} values")
        if self._depth > MAX_DEPTH:
            raise UnreadableError(f"values nested more than {MAX_DEPTH} deep")

    def read_number(self, node: yaml.ScalarNode) -> Hashable:
        """A number, if it is a short one: long ones take long to read.

        Args:
            node: of an int or a float.
        """
        if len(node.value) > MAX_DIGITS:
            raise UnreadableError(f"a number of more than {MAX_DIGITS} digits")
        kind = node.tag.rpartition(":")[2]
        read: Any = self.construct_yaml_int if kind == "int" else self.construct_yaml_float
        try:
            number: Hashable = read(node)
        except ValueError as error:  # such as 0b_, which YAML takes for a number
            raise UnreadableError("a number without digits") from error
        return number


for _kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.read_number)
