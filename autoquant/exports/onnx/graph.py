"""A graph of ONNX nodes that is built node by node."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoquant.exports.onnx.requirements import require
from autoquant.exports.weights import Activation

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTRIB = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""


class GraphBuilder:
    """Nodes and initializers with names of their own; equal initializers are stored once.

    Args:
        taken: names that are in use.

    Attributes:
        nodes: first to last.
        initializers: constant tensors.
        domains: of the operators that were used.
        coded: for values that come from codes, how they were rounded and the name of the codes.
    """

    def __init__(self, taken: set[str]) -> None:
        (self._onnx,) = require("onnx")
        self._taken = set(taken)
        self._known: dict[bytes, str] = {}
        self._scope = ""
        self._counts: dict[str, int] = {}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.domains: set[str] = set()
        self.coded: dict[str, tuple[Activation, str]] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Let new names begin with that of a layer.

        Args:
            name: of the layer.
        """
        before, self._scope = self._scope, name
        try:
            yield
        finally:
            self._scope = before

    @contextmanager
    def body(self) -> Iterator[list[Any]]:
        """Collect the nodes of a subgraph, which may read all that was made before."""
        before, self.nodes = self.nodes, []
        inside = self.nodes
        try:
            yield inside
        finally:
            self.nodes = before

    def unique(self, label: str) -> str:
        """A new name: that of the layer and a label, or a short one.

        Args:
            label: what it ends with; empty for a short name.
        """
        base = f"{self._scope}.{label}" if self._scope and label else label
        name = base
        while not name or name in self._taken:
            self._counts[base] = number = self._counts.get(base, 1) + 1
            name = f"{base}_{number}" if base else f"t{number - 1}"
        self._taken.add(name)
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **more: Any) -> str:
        """Add a node with one output.

        Args:
            kind: its operator.
            inputs: names; an empty one where an optional input is absent.
            domain: of the operator.
            more: attributes.

        Returns:
            the name of its output.
        """
        return self.nodes_of(kind, *inputs, outputs=1, domain=domain, **more)[0]

    def nodes_of(
        self, kind: str, *inputs: str, outputs: int, domain: str = "", **more: Any
    ) -> list[str]:
        """Add a node with several outputs.

        Args:
            kind: its operator.
            inputs: names; an empty one where an optional input is absent.
            outputs: how many.
            domain: of the operator.
            more: attributes.

        Returns:
            the names of its outputs.
        """
        names = [self.unique("") for _ in range(outputs)]
        self.node_to(kind, inputs, names, domain=domain, **more)
        return names

    def node_to(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **more: Any,
    ) -> None:
        """Add a node whose outputs have names.

        Args:
            kind: its operator.
            inputs: names.
            outputs: names.
            domain: of the operator.
            more: attributes.
        """
        helper = self._onnx.helper
        node = helper.make_node(kind, inputs, outputs, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in more.items())
        self.nodes.append(node)
        self.domains.add(domain)

    def alias(self, name: str, values: str) -> None:
        """Add another name for values.

        Args:
            name: the new name.
            values: their name.
        """
        self.node_to("Identity", [values], [name])
        if values in self.coded:
            self.coded[name] = self.coded[values]

    def constant(self, values: Any, label: str, dtype: Any = None) -> str:
        """A constant tensor.

        Args:
            values: numbers.
            label: what its name ends with, after that of the layer; the name of a single number is
                short, since it takes more bytes than the number.
            dtype: numpy's; that of the values by default.
        """
        array = np.ascontiguousarray(np.asarray(values, dtype)).reshape(np.shape(values))
        label = label if array.size > 1 else ""
        return self._store(self._onnx.numpy_helper.from_array(array, ""), label)

    def integers(self, integers: NDArray[np.int8], bits: int, label: str) -> str:
        """A constant tensor of signed integers of 4 or 8 bits.

        Args:
            integers: the values.
            bits: 4 or 8.
            label: what its name ends with.
        """
        if bits == 8:
            return self.constant(integers, label)
        kind = self._onnx.TensorProto.INT4
        flat = np.pad(integers.reshape(-1).astype(np.uint8) & 0xF, (0, integers.size % 2))
        raw = (flat[::2] | flat[1::2] << 4).tobytes()
        tensor = self._onnx.helper.make_tensor("", kind, integers.shape, raw, raw=True)
        return self._store(tensor, label)

    def _store(self, tensor: Any, label: str) -> str:
        digest = hashlib.sha256(tensor.SerializeToString()).digest()
        if digest not in self._known:
            tensor.name = self._known[digest] = self.unique(label)
            self.initializers.append(tensor)
        return self._known[digest]
