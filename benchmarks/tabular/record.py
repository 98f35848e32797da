"""Recording a table: every plan trained, row by row; a stopped recording resumes."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from autoquant.analysis.measure_sensitivity import load_or_measure_sensitivity
from autoquant.analysis.model_info import inspect_task
from autoquant.costs.bit_ops import bit_ops
from autoquant.costs.limit import Limit
from autoquant.costs.size import size
from autoquant.files import write_bytes, write_text
from autoquant.graph.prepare import prepare
from autoquant.seeds import seed_everything
from autoquant.settings import settings_for
from autoquant.space.search_space import build_space
from autoquant.task import Task
from autoquant.training.candidate import Candidate, StartingPoint, failure_of
from autoquant.training.loop import train
from autoquant.training.rungs import train_rung
from autoquant.training.scoring import score
from autoquant.training.weights import load_weights, serialized
from benchmarks.tabular.networks import Network
from benchmarks.tabular.plans import PlanDrawer
from benchmarks.tabular.table import STEPS_FACTORS, PlanRow, RunRow, TableFolder

RUNG_NAMES = tuple(STEPS_FACTORS)
REPEATED, FULL, ORDERS = 60, 30, 3
"""Plans with several data orders, of these trained in full, and the number of orders."""


@dataclass(frozen=True)
class Job:
    """Trainings of one plan in one data order, each continuing the one before.

    Attributes:
        plan: number of the plan.
        order: number of the data order.
        rungs: names, shortest first.
    """

    plan: int
    order: int
    rungs: tuple[str, ...]


class Trainer(Protocol):
    """What trains the plans of a table."""

    def __call__(self, plan: PlanRow, order: int, rung: str, trunk: Path) -> RunRow:
        """Train a plan up to a rung.

        Args:
            plan: of the table.
            order: number of the data order.
            rung: its name.
            trunk: file of the steps that its rungs share.
        """
        ...


def record(folder: TableFolder, trainer: Trainer, part: int = 0, parts: int = 1) -> None:
    """Train what is not in the table yet.

    First half of the plans, which are in random order; then some of them in other data orders and
    in full; then the others. So that a part of a table can be used.

    Args:
        folder: of the table; it has plans.
        trainer: of the plans.
        part: number of this process, from 0.
        parts: how many processes share the table.
    """
    every = folder.plans()
    plans, half = {plan.plan: plan for plan in every}, every[: len(every) // 2]
    stages = ((first_jobs, half), (repeated_jobs, half), (first_jobs, every), (second_jobs, every))
    for stage, candidates in stages:
        while True:
            runs = folder.runs()
            jobs = stage(candidates, runs)
            if jobs is not None:
                break
            time.sleep(5)  # another process is at the stage before
        done = {(run.plan, run.order, run.rung) for run in runs}
        for job in jobs[part::parts]:
            if any((job.plan, job.order, rung) not in done for rung in job.rungs):
                _do(job, plans[job.plan], folder, trainer, done)


def _do(
    job: Job,
    plan: PlanRow,
    folder: TableFolder,
    trainer: Trainer,
    done: set[tuple[int, int, str]],
) -> None:
    """Do a job and add its rows.

    Args:
        job: of which some rung is missing.
        plan: of the job.
        folder: of the table.
        trainer: of the plans.
        done: plan, order and rung of the rows that are there.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for rung in job.rungs:
            row = trainer(plan, job.order, rung, Path(temporary) / "trunk")
            if (job.plan, job.order, rung) not in done:
                folder.append(row)


# --- what is to be trained -----------------------------------------------------------------------


def first_jobs(plans: Sequence[PlanRow], runs: Sequence[RunRow]) -> list[Job]:
    """Every plan in the first data order; before that, in all orders, what searches begin with.

    Args:
        plans: of the table.
        runs: not used.
    """
    rungs = RUNG_NAMES[:2]
    known = [plan.plan for plan in plans if plan.kind in ("first", "uniform")]
    jobs = [Job(plan, order, rungs) for plan in known for order in range(ORDERS)]
    return jobs + [Job(plan.plan, 0, rungs) for plan in plans if plan.plan not in known]


def repeated_jobs(plans: Sequence[PlanRow], runs: Sequence[RunRow]) -> list[Job] | None:
    """The other data orders of some plans, of which some are trained in full.

    Args:
        plans: of the table.
        runs: of all of them in the first data order; if some are missing, None is returned.
    """
    losses = {run.plan: run.loss for run in runs if (run.order, run.rung) == (0, "medium")}
    if any(plan.plan not in losses for plan in plans):
        return None
    chosen = repeated_plans(plans, losses)
    return [
        Job(plan, order, RUNG_NAMES[: 3 if order == 1 and number < FULL else 2])
        for number, plan in enumerate(chosen)
        for order in range(1, ORDERS)
    ]


def second_jobs(plans: Sequence[PlanRow], runs: Sequence[RunRow]) -> list[Job]:
    """Every plan in the second data order: scores by which nothing was chosen.

    Args:
        plans: of the table.
        runs: not used.
    """
    return [Job(plan.plan, 1, ("short", "medium")) for plan in plans]


def repeated_plans(plans: Sequence[PlanRow], losses: dict[int, float]) -> list[int]:
    """Numbers of plans: in turn one of the best near each budget, and others.

    Args:
        plans: of the table, in random order.
        losses: of the first data order, by plan.
    """
    budgets = sorted({plan.budget for plan in plans} - {0.0})
    queues = [[plan for plan in plans if plan.kind in ("first", "uniform")], [*plans]]
    for budget in budgets:
        near = [plan for plan in plans if plan.budget == budget and plan.kind != "uniform"]
        queues.append(sorted(near, key=lambda plan: losses[plan.plan]))
    chosen: list[int] = []
    while len(chosen) < min(REPEATED, len(plans)):
        for queue in queues:
            fresh = [plan.plan for plan in queue if plan.plan not in chosen]
            chosen += fresh[:1]
    return chosen[:REPEATED]


# --- how it is trained ---------------------------------------------------------------------------


class PlanTrainer:
    """Trains the plans of a network; see ``Trainer``.

    Args:
        network: of the benchmark.
        folder: of its table: the float model, the sensitivity and the plans are made there where
            they are missing.
    """

    def __init__(self, network: Network, folder: TableFolder) -> None:
        folder.path.mkdir(parents=True, exist_ok=True)
        self._network = network
        task, self._metric_task = network.task(True), network.task(False)
        settings = settings_for(task)
        info = inspect_task(task, settings.widening)
        self.space = build_space(
            info.network, info.profile.widenable, settings.space, settings.rules
        )
        self._limit = Limit(size, math.inf, info.network, settings.quantizer)
        model = _float_model(task, folder)
        self.start = StartingPoint(task, prepare(model), info.network, settings)
        if not folder.plans_file.exists():
            self._write_facts(folder, model, info.float_bytes)

    def _write_facts(self, folder: TableFolder, model: Any, float_bytes: int) -> None:
        """Write what a table has beside its rows.

        Args:
            folder: of the table.
            model: the float model.
            float_bytes: its size.
        """
        network, task = self._network, self.start.task
        sensitivity = load_or_measure_sensitivity(
            self.start, self.space, self.start.settings.qat, folder.sensitivity_file
        )
        facts = {
            "network": network.name,
            "steps": {rung: network.steps * factor for rung, factor in STEPS_FACTORS.items()},
            "budgets": network.budgets,
            "float_bytes": float_bytes,
            "float_loss": _as_loss(task, score(model, task, "valid")),
            "float_metric": score(model, self._metric_task, "valid"),
            "metric": self._metric_task.metric,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "dimensions": [asdict(dimension) for dimension in self.space.dimensions],
        }
        write_text(folder.settings_file, json.dumps(facts, indent=2) + "\n")
        drawer = PlanDrawer(self._limit, self.space, sensitivity, float_bytes)
        points = drawer.draw(network.budgets)
        folder.write_plans([*self._rows(points)])

    def _rows(self, points: Any) -> Iterator[PlanRow]:
        """The rows of points."""
        limit = self._limit
        for number, (point, (kind, budget)) in enumerate(points.items()):
            plan = self.space.plan(point)
            operations = bit_ops.of(limit.network, plan, limit.scheme)
            written = "-".join(map(str, point))
            yield PlanRow(number, kind, budget, int(limit.of(plan)), int(operations), written)

    def __call__(self, plan: PlanRow, order: int, rung: str, trunk: Path) -> RunRow:
        """See ``Trainer``.

        Args:
            plan: of the table.
            order: number of the data order.
            rung: its name.
            trunk: file of the steps that its rungs share.
        """
        steps, task = self._network.steps * STEPS_FACTORS[rung], self.start.task
        started = time.process_time()
        loss = metric = math.inf
        try:
            candidate = train_rung(
                self.start,
                self.space.plan(plan.indices),
                self.start.settings.qat,
                steps,
                order=order,
                trunk=trunk,
            )
            loss = _as_loss(task, candidate.score)
            metric = self._metric(candidate, rung)
        except Exception as error:
            if failure_of(error) is None:
                raise
        seconds = round(time.process_time() - started, 3)
        return RunRow(plan.plan, order, rung, steps, loss, metric, seconds)

    def _metric(self, candidate: Candidate, rung: str) -> float:
        """The metric of a trained plan; not of short rungs, where a second score costs most."""
        if self.start.task.metric == self._metric_task.metric:
            return candidate.score
        return math.nan if rung == "short" else score(candidate.model, self._metric_task, "valid")


def _as_loss(task: Task, value: float) -> float:
    """A score as a loss in nats."""
    return math.log(value) if task.metric == "perplexity" else value


def _float_model(task: Task, folder: TableFolder) -> Any:
    """The float model: read where it is there, else trained."""
    settings = settings_for(task)
    seed_everything(settings.seed)
    model = task.build_model()
    if folder.baseline_file.exists():
        load_weights(model, folder.baseline_file)
    else:
        train(model, task, settings.baseline, seed=settings.seed)
        write_bytes(folder.baseline_file, serialized(model))
    return model.eval()
