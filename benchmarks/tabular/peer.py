"""Peer rows: uniform quantization-aware training by Brevitas, at the bytes of a search."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoquant.analysis.model_info import network_of
from autoquant.costs.size import size
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.study.folder import Study
from autoquant.task import Task
from autoquant.training.loop import train
from autoquant.training.scoring import score
from autoquant.training.weights import load_weights
from benchmarks.tabular.brevitas_model import BrevitasLanguageModel
from benchmarks.tabular.live import LiveRow, difference
from benchmarks.tabular.networks import NETWORKS
from benchmarks.tabular.table import STEPS_FACTORS, append_rows, read_rows
from studies.markdown import table_of

NETWORK = NETWORKS["language"]
"""The network that is an LSTM."""
WEIGHT_BITS = (2, 3, 4, 5, 6, 8)
ACTIVATION_BITS = 8
NEAR = 0.05
"""Share of a budget by which the file of uniform bits may be larger or smaller."""


@dataclass(frozen=True)
class PeerRow:
    """A model that Brevitas trained.

    Attributes:
        budget: share of the float model.
        seed: of the search, of the float model too.
        weight_bits: of all weights: those whose file is nearest to the budget.
        size_bytes: of the packed file, if autoquant packed such a model.
        valid: loss on the valid split.
        test: loss on the test split.
        seconds: of the training.
    """

    budget: float
    seed: int
    weight_bits: int
    size_bytes: int
    valid: float
    test: float
    seconds: float


def record_peer(table: Path, runs: Path, seeds: Sequence[int]) -> list[PeerRow]:
    """Train what has no row yet, from the float models of the live searches; all rows.

    Args:
        table: folder of the network's table, where the rows are written.
        runs: folder of the live searches.
        seeds: of the searches.
    """
    path, task = table / "peer.csv", NETWORK.task(True)
    done = read_rows(path, PeerRow) if path.exists() else []
    known = {(row.budget, row.seed) for row in done}
    for seed in seeds:
        for budget, bits, size_bytes in _budgets(task, Study(runs / f"{_name(seed)}")):
            if (budget, seed) not in known:
                row = _trained(task, runs, seed, (budget, bits, size_bytes))
                append_rows(path, [row])
                done.append(row)
    return done


def _name(seed: int) -> str:
    """The live search that trained the float model of a seed."""
    return f"{NETWORK.name}-{NETWORK.budgets[0]}x-seed{seed}"


def _budgets(task: Task, study: Study) -> Iterator[tuple[float, int, int]]:
    """The budgets that uniform bits come near, with the bits and the bytes of such a file.

    Args:
        task: of the network.
        study: has the size of the float model.
    """
    network, float_bytes = network_of(task), study.baseline().size_bytes
    for budget in NETWORK.budgets:
        sizes: dict[int, int] = {}
        for bits in WEIGHT_BITS:
            plan = Plan.uniform(network.names, LayerChoice(bits, ACTIVATION_BITS))
            sizes[bits] = int(size.of(network, plan, Scheme()))
        bits = min(sizes, key=lambda bits: abs(sizes[bits] / float_bytes - budget))
        if abs(sizes[bits] / (budget * float_bytes) - 1) <= NEAR:
            yield budget, bits, sizes[bits]


def _trained(task: Task, runs: Path, seed: int, at: tuple[float, int, int]) -> PeerRow:
    """Train as ``apply`` trains: the same batches, teacher, learning rate and steps.

    Args:
        task: of the network.
        runs: folder of the live searches.
        seed: of the search.
        at: budget, bits and bytes.
    """
    budget, bits, size_bytes = at
    float_model = task.build_model()
    load_weights(float_model, Study(runs / _name(seed)).baseline_file)
    model = BrevitasLanguageModel(float_model, bits, ACTIVATION_BITS)
    training = NETWORK.settings.qat.changed(steps=NETWORK.steps * STEPS_FACTORS["full"])
    started = time.monotonic()
    train(model, task, training, seed=seed, teacher=float_model)
    valid, test = (math.log(score(model, task, split)) for split in ("valid", "test"))
    return PeerRow(budget, seed, bits, size_bytes, valid, test, time.monotonic() - started)


def peer_table(rows: Sequence[PeerRow], live: Sequence[LiveRow]) -> str:
    """By budget the mean test losses of Brevitas and of the search, and their difference.

    Args:
        rows: of Brevitas.
        live: of the searches.
    """
    searches = {(row.budget, row.seed): row for row in live if row.kind == "search"}
    head = ["budget", "seeds", "weight bits", "bytes", "Brevitas", "search, bytes", "search"]
    lines = []
    for budget in sorted({row.budget for row in rows}):
        both = [r for r in rows if r.budget == budget and (budget, r.seed) in searches]
        if not both:
            continue
        ours = [searches[budget, row.seed] for row in both]
        losses = [np.array([row.test for row in group]) for group in (both, ours)]
        cells = [f"{budget}x", str(len(both)), str(both[0].weight_bits), str(both[0].size_bytes)]
        cells += [f"{losses[0].mean():.4f}", str(max(row.size_bytes for row in ours))]
        cells += [f"{losses[1].mean():.4f}", difference(losses[1] - losses[0])]
        lines.append(cells)
    return table_of([*head, "search - Brevitas"], lines)
