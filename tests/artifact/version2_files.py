"""Files of version 2, written as autoquant wrote them before version 3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from autoquant.artifact import manifest, packed_file, version2
from autoquant.graph.network import Network
from autoquant.plan import Plan
from autoquant.settings import Scheme


def tensors_of(model: nn.Module, network: Network, plan: Plan, scheme: Scheme) -> dict[str, Tensor]:
    """Those of version 3 and the counters of norms."""
    grown = network.resized(plan)
    counters = {norm.full_name(manifest.COUNTER) for norm in network.norms}
    state = {name: t for name, t in model.state_dict().items() if name in counters}
    return packed_file.collect(model, grown, plan, scheme) | state


def content_of(network: Network, plan: Plan, scheme: Scheme) -> dict[str, Any]:
    """The metadata, without checksums and digest."""
    values = asdict(scheme)
    del values["norms"]
    sizes = {name: list(sizes) for name, sizes in network.resized(plan).sizes().items()}
    return {"version": 2, "plan": plan.to_dict(), "sizes": sizes, "scheme": values}


def with_digests(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The metadata with checksums of these tensors and a digest."""
    checksums = {name: version2.checksum(tensor) for name, tensor in tensors.items()}
    complete = {**content, "sha256": checksums}
    return {**complete, "digest": version2.digest(complete)}


def file_of(content: Mapping[str, Any], tensors: dict[str, Tensor]) -> bytes:
    """A file with these metadata."""
    text = json.dumps(content, separators=(",", ":"))
    return save(tensors, metadata={"autoquant": text})
