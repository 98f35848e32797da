"""The table of coverage: known layers, groups that can grow, what prevents it in the others."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from autoquant.analysis.coverage import coverage_of, why_uncovered
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from studies.markdown import table_of
from tests.families.cycle import without_constants
from tests.families.registry import FAMILIES, Family

LEAST_SHARE = 1e-4
"""Of the parameters; smaller tensors are not listed."""
FULL = 0.99
"""Share of covered parameters from which on the rest is not listed."""


@dataclass(frozen=True)
class FamilyRow:
    """What autoquant found in one family.

    Attributes:
        family: of models.
        model: a small one, prepared.
        network: the layers and groups of the model.
        usual: model and network of the usual size, for families that have one.
    """

    family: Family
    model: nn.Module
    network: Network
    usual: tuple[nn.Module, Network] | None

    @property
    def groups(self) -> list[str]:
        return [*dict.fromkeys(self.network.groups.values())]


def describe_family(family: Family) -> FamilyRow:
    """Describe a small model of a family, and list the layers of one of the usual size."""
    torch.manual_seed(0)
    model = prepare(without_constants(family.build())).eval()
    network = describe(model, family.inputs())
    usual = None
    if family.usual is not None:
        large = prepare(family.usual())
        usual = large, describe(large, None)
    return FamilyRow(family, model, network, usual)


def covered(model: nn.Module, network: Network) -> float:
    """The share of the parameters that are in known layers and norms."""
    coverage = coverage_of(model, network)
    return coverage.share + coverage.norm_share


def table() -> str:
    """The tables as Markdown."""
    absent = [family for family in FAMILIES if family.missing]
    rows = [describe_family(family) for family in FAMILIES if not family.missing]
    head = ["family", "parameters", "layers and norms", "covered", "covered, usual size"]
    families = table_of([*head, "can grow", "what stopped the others"], map(_cells, rows))
    families += "".join(
        f"| {family.name} | needs {', '.join(family.missing)} | | | | | |\n" for family in absent
    )
    left_out: list[list[str]] = []
    for row in rows:
        left_out += _left_out(row.family.name, row.model, row.network)
        if row.usual is not None:
            left_out += _left_out(f"{row.family.name}, usual size", *row.usual)
    title = f"\nLeft out where less than {FULL:.0%} is covered:\n\n"
    return families + title + table_of(["model", "tensors", "share", "why"], left_out)


def _cells(row: FamilyRow) -> list[str]:
    network = row.network
    free = [group for group in row.groups if group not in network.frozen]
    usual = (
        "" if row.usual is None else f"{_percent(covered(*row.usual))} of {_count(row.usual[1])}"
    )
    return [
        row.family.name,
        _count(network),
        f"{len(network.layers)} + {len(network.norms)}",
        _percent(covered(row.model, network)),
        usual,
        f"{len(free)} of {len(row.groups)}",
        "; ".join(_reasons(network)),
    ]


def _percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
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


def _left_out(name: str, model: nn.Module, network: Network) -> Iterator[list[str]]:
    """Rows on the tensors that are not quantized, the largest first; none if nearly all are.

    Args:
        name: of the model.
        model: prepared.
        network: its layers.
    """
    if covered(model, network) >= FULL:
        return
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for unquantized in network.unquantized:
        tensor = unquantized.name.rpartition(".")[2]
        reason = why_uncovered(model, unquantized.name)
        sizes[reason, tensor].append(math.prod(unquantized.shape))
    for (reason, tensor), counts in sorted(sizes.items(), key=lambda item: -sum(item[1])):
        share = sum(counts) / network.parameters
        if share >= LEAST_SHARE:
            yield [name, f"{len(counts)} x `{tensor}`", f"{share:.2%}", reason]
