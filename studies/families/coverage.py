"""The table of coverage: layers found, groups that can grow, what stopped the others."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from tests.families.cycle import stirred
from tests.families.registry import FAMILIES, Family

FULL = 0.99  # coverage from which on the rest is not listed


@dataclass(frozen=True)
class Row:
    """What was found of one family."""

    family: Family
    model: nn.Module
    network: Network
    usual: tuple[nn.Module, Network] | None

    @property
    def groups(self) -> list[str]:
        return [*dict.fromkeys(self.network.groups.values())]


def look(family: Family) -> Row:
    """Describe a small model of a family, and list the layers of one of the usual size."""
    torch.manual_seed(0)
    model = prepare(stirred(family.build())).eval()
    network = describe(model, family.inputs())
    usual = None
    if family.usual is not None:
        large = prepare(family.usual())
        usual = large, describe(large, None)
    return Row(family, model, network, usual)


def covered(network: Network) -> float:
    """The share of the parameters that are in known layers and norms."""
    return sum(layer.count for layer in network.known) / network.parameters


def table() -> str:
    """The tables as Markdown."""
    absent = [each for each in FAMILIES if each.missing]
    rows = [look(each) for each in FAMILIES if not each.missing]
    lines = [
        "| family | parameters | layers and norms | covered | covered, usual size | can grow | "
        "what stopped the others |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(_line, rows),
    ]
    lines += [f"| {each.name} | needs {', '.join(each.missing)} | | | | | |" for each in absent]
    lines += ["", f"Left out where less than {FULL:.0%} is covered:", ""]
    lines += ["| model | tensors | share | why |", "| --- | --- | --- | --- |"]
    for row in rows:
        lines += _left_out(row.family.name, row.model, row.network)
        if row.usual is not None:
            lines += _left_out(f"{row.family.name}, usual size", *row.usual)
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    network = row.network
    free = [group for group in row.groups if group not in network.frozen]
    usual = (
        "" if row.usual is None else f"{_percent(covered(row.usual[1]))} of {_count(row.usual[1])}"
    )
    cells = [
        row.family.name,
        _count(network),
        f"{len(network.layers)} + {len(network.norms)}",
        _percent(covered(network)),
        usual,
        f"{len(free)} of {len(row.groups)}",
        "; ".join(_reasons(network)),
    ]
    return f"| {' | '.join(cells)} |"


def _percent(share: float) -> str:
    """Rounded down, so that only all is 100%."""
    return f"{math.floor(share * 1000) / 10:.1f}%"


def _count(network: Network) -> str:
    count = network.parameters
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.1f}k"


def _reasons(network: Network) -> Iterator[str]:
    """Why groups are frozen, most frequent first, without the lines of code."""
    for reason, count in Counter(map(plain, network.frozen.values())).most_common():
        yield f"{count}: {reason}"


def plain(reason: str) -> str:
    """A reason that groups of one kind have in common."""
    return re.sub(r"\d+", "#", re.sub(r" \([\w.]+:\d+\)", "", reason))


def _left_out(name: str, model: nn.Module, network: Network) -> Iterator[str]:
    if covered(network) >= FULL:
        return
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for each in network.unquantized:
        path, _, tensor = each.name.rpartition(".")
        sizes[_reason(model.get_submodule(path), tensor), tensor].append(math.prod(each.shape))
    found: Sequence[tuple[tuple[str, str], list[int]]] = sorted(
        sizes.items(), key=lambda item: -sum(item[1])
    )
    for (why, tensor), counts in found:
        share = sum(counts) / network.parameters
        if share >= 1e-4:
            yield f"| {name} | {len(counts)} x `{tensor}` | {share:.2%} | {why} |"


def _reason(module: nn.Module, tensor: str) -> str:
    kind = type(module).__name__
    if tensor in module._buffers:
        return f"a buffer of {kind}"
    if isinstance(module, nn.LayerNorm):
        return f"{kind}: looks across all of its units, kept in float"
    if [*module.children()]:
        return f"a parameter of {kind} itself"
    return f"{kind} is no known layer"
