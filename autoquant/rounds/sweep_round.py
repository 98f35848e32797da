"""SweepRound: the runs of a sweep, as one batch of jobs on the full rung."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoquant.artifact.manifest import breakdown
from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.paper_size_ratio import paper_size_ratio
from autoquant.costs.size import size
from autoquant.files import write_bytes
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.rounds.rungs import Rung
from autoquant.settings import Scheme, Search, Sweep
from autoquant.space.search_space import SearchSpace, weight_bits_only
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.study.sweep_table import SweepRun, SweepRunResult, SweepTable

RunJobs = Callable[[Sequence[Job], Callable[[Job, JobResult], None]], object]
"""Runs jobs, and calls a function with each and its result as it ends."""


def sweep_rung(settings: Search, sweep: Sweep, steps_per_epoch: int) -> Rung:
    """The only rung of a sweep: ``final``, or from new weights ``baseline``.

    Args:
        settings: give the trainings.
        sweep: says what the runs are trained from.
        steps_per_epoch: number of batches of one pass over the training data.
    """
    training = settings.baseline if sweep.init_from == "scratch" else settings.final
    return Rung("full", training.length(steps_per_epoch), training, whole=True)


class SweepRound:
    """The runs of a sweep that its table does not have, trained and recorded there.

    Args:
        study: the sweep's folder, with its table.
        network: of the float model.
        space: of the model; tells why no plan fits a budget.
        scheme: gives the costs.
        float_bytes: of the float model's tensors.
        on_result: called with the result of each run when it has been recorded.
    """

    def __init__(
        self,
        study: Study,
        network: Network,
        space: SearchSpace,
        scheme: Scheme,
        float_bytes: int,
        on_result: Callable[[SweepRunResult], None],
    ) -> None:
        self._study, self._table = study, SweepTable.of(study)
        self._network, self._space = network, space
        self._scheme, self._float_bytes, self._on_result = scheme, float_bytes, on_result

    def run(self, runs: Sequence[SweepRun], steps: int, run_jobs: RunJobs) -> None:
        """Train and record the runs that are not in the table.

        Args:
            runs: of the sweep.
            steps: of the rung.
            run_jobs: runs jobs.
        """
        recorded = self._table.by_name()
        jobs: dict[Job, list[SweepRun]] = {}  # two names of one training share it
        for run in runs:
            if run.name in recorded:
                continue
            if run.plan is None:
                self._record(SweepRunResult(run, "too large", reason=self._smallest(run)))
            else:
                jobs.setdefault(job_of(run, run.plan, steps), []).append(run)

        def ended(job: Job, result: JobResult) -> None:
            for run in jobs[job]:
                self._share_file(job.label, run.name)
                self._record(self._result(run, result))

        run_jobs([*jobs], ended)

    def _share_file(self, label: str, name: str) -> None:
        """Give a run the packed file of the training that it shares with another run.

        Args:
            label: of the training.
            name: of the run.
        """
        file = self._study.packed_file(label)
        if name != label and file.is_file():
            write_bytes(self._study.packed_file(name), file.read_bytes())

    def _record(self, result: SweepRunResult) -> None:
        self._table.append(result)
        self._on_result(result)

    def _result(self, run: SweepRun, result: JobResult) -> SweepRunResult:
        """What came of a run: its costs, and the scores of its job.

        Args:
            run: with a plan.
            result: of its job.
        """
        plan = result.job.plan
        size_bytes = int(size.of(self._network, plan, self._scheme))
        ratio = paper_size_ratio.of(self._network, plan, self._scheme)
        return SweepRunResult(
            run,
            result.state,
            valid=result.score,
            test=result.test,
            size_bytes=size_bytes,
            size_share=size_bytes / self._float_bytes,
            paper_size_ratio=round(ratio, 12),
            activation_bytes=activation_memory.of(self._network, plan, self._scheme),
            steps=result.job.steps if result.state == "complete" else 0,
            seconds=result.seconds,
            reason=result.reason,
        )

    def _smallest(self, run: SweepRun) -> str:
        """How large the smallest plan of a run's width is, and what takes its bytes.

        Args:
            run: without a plan.
        """
        choice = LayerChoice(activation_bits=run.activation_bits or 32, width=run.width or 1.0)
        space = weight_bits_only(self._space, choice)
        sizes = breakdown(self._network, space.plan(space.smallest), self._scheme)
        return f"the budget must be at least {sizes.total} bytes ({sizes}), got {run.budget}"


def job_of(run: SweepRun, plan: Plan, steps: int) -> Job:
    """The training of a run.

    Args:
        run: of a sweep.
        plan: of the run.
        steps: of the rung.
    """
    return Job(plan, steps, label=run.name, seed=run.seed, init_from=run.init_from)
