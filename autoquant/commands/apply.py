"""Apply: train the chosen plan in full and pack it into a file of the promised size."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.artifact import packed_file
from autoquant.backend import Compute, computing
from autoquant.costs.plan_costs import PlanCosts, costs_of, float_costs
from autoquant.costs.size import size
from autoquant.errors import RunError, UserError
from autoquant.files import write_text
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.settings import STARTS, Search, Training, from_dict, require
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable
from autoquant.task import Task
from autoquant.training.baseline import float_baseline, float_model
from autoquant.training.candidate import Base, train_candidate
from autoquant.training.loop import check_autocast, resolve_device, score


@dataclass(frozen=True)
class Applied:
    """A plan, trained in full and packed.

    Attributes:
        artifact: the packed file.
        valid: score on the valid split.
        test: score on the test split.
        baseline_valid: the float model's score on the valid split.
        baseline_test: the float model's score on the test split.
        costs: the packed plan's bytes, activations and operations.
        baseline_costs: the float model's; its bytes are those of its tensors.
        steps: training steps.
        seconds: training time.
    """

    artifact: Path
    plan: Plan
    metric: str
    valid: float
    test: float
    baseline_valid: float
    baseline_test: float
    costs: PlanCosts
    baseline_costs: PlanCosts
    steps: int
    seconds: float

    @property
    def size_bytes(self) -> int:
        """Bytes of the packed file."""
        return self.costs.size_bytes


def apply(
    study: str | Path,
    task: Task,
    *,
    trial: str | None = None,
    plan: Plan | None = None,
    start: str | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Applied:
    """Train a plan in full and pack it.

    An interrupted call resumes from its checkpoint; a finished one is not trained again.

    Args:
        study: the folder of a search, or of a sweep.
        task: the task of that study.
        trial: a trial of the search to apply, such as "17" or "w4"; the best one when None. A
            sweep's cell by its name.
        plan: a plan to apply instead.
        start: "baseline" grows the study's float model and trains as its ``final`` says;
            "scratch" draws new weights and trains in low precision from the first step, as
            ``baseline`` says. None: as a sweep's cell was trained, else from the baseline.
        changes: fields of that training to change, such as ``epochs``.
        device: where to train; the study's device when None.

    Raises:
        UserError: the study, trial or plan is not there, or does not fit the model.
        RunError: training diverged or the file cannot be written.
    """
    folder = Study.open(study)
    settings = _settings(folder)
    chosen = _choose(folder, settings, trial, plan)
    chosen = chosen if start is None else chosen.started(start)
    training, plan = _training(settings, chosen.start, dict(changes or {})), chosen.plan
    network = describe(prepare(float_model(task)), task.example().inputs)
    size.of(network, plan, settings.quantizer)  # refuses a plan of another model
    place = folder.applied(chosen.name)
    done = _read_result(place, plan, training)
    if done is not None:
        return done
    target = resolve_device(device or settings.device)
    check_autocast(training, target)
    trained, record = float_baseline(task, settings, folder, target, progress=progress)
    base = Base(task, prepare(trained), network, settings).started(chosen.start, chosen.seed)
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / "plan.yaml", plan.to_yaml())
        checkpoint = place / f".{_identity(plan)}.checkpoint"
        with computing(Compute(settings.kernel)):
            applied = _train_and_pack(base, plan, training, place, checkpoint, progress)
        result = replace(
            applied,
            baseline_valid=record.score,
            baseline_test=score(trained, task, "test"),
            baseline_costs=replace(applied.baseline_costs, size_bytes=record.size_bytes),
        )
        _write_result(place, result, training)
        checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"'{place}' could not be written: {error.strerror}") from error
    return result


def _train_and_pack(
    base: Base, plan: Plan, training: Training, place: Path, checkpoint: Path, progress: bool
) -> Applied:
    """Train, pack, load back and score; what is known of the baseline is filled in later."""
    task, network, scheme = base.task, base.network, base.settings.quantizer
    candidate = train_candidate(
        base, plan, training, label="apply", checkpoint=checkpoint, progress=progress
    )
    path = place / "model.safetensors"
    packed_file.save(path, candidate.model, network, plan, scheme)
    loaded = _reload(path, candidate.model, task)
    return Applied(
        artifact=path,
        plan=plan,
        metric=task.metric,
        valid=candidate.score,
        test=score(loaded, task, "test"),
        baseline_valid=math.nan,
        baseline_test=math.nan,
        costs=costs_of(network, plan, scheme),
        baseline_costs=float_costs(network),
        steps=candidate.run.steps,
        seconds=candidate.run.seconds,
    )


def _training(settings: Search, start: str, changes: dict[str, Any]) -> Training:
    """The study's full training with some fields changed; epochs given here outdo its steps."""
    if "epochs" in changes and "steps" not in changes:
        changes["steps"] = None
    name = "baseline" if start == "scratch" else "final"
    return from_dict(Training, asdict(getattr(settings, name)) | changes, f"{name}.")


def _settings(folder: Study) -> Search:
    own = ("task", "sweep")  # a plan may be applied in the folder of a sweep too
    content = {key: value for key, value in folder.config().items() if key not in own}
    return from_dict(Search, content)


@dataclass(frozen=True)
class _Choice:
    """What is applied.

    Attributes:
        name: of its folder.
        start: one of STARTS.
    """

    name: str
    plan: Plan
    start: str
    seed: int

    def started(self, start: str) -> _Choice:
        """The same with another start, and then in another folder."""
        require(start in STARTS, f"start must be {' or '.join(STARTS)}", start)
        name = self.name if start == self.start else f"{self.name}-{start}"
        return replace(self, name=name, start=start)


def _choose(folder: Study, settings: Search, trial: str | None, plan: Plan | None) -> _Choice:
    """The plan to apply, and a name for it."""
    if plan is not None and trial is not None:
        raise UserError(f"apply takes a trial or a plan, got both (trial {trial})")
    if trial is None:
        if plan is None and folder.cells_file.is_file():
            raise UserError("trial must name a cell of the sweep, or plan a file; got neither")
        plan = folder.plan() if plan is None else plan
        return _Choice(f"plan-{_identity(plan)}", plan, STARTS[0], settings.seed)
    known = _tried(folder, settings)
    if trial not in known:
        rule = f"trial must be one of the study's ({_listed([*known])})"
        raise UserError(f"{rule}, got {trial!r}")
    return known[trial]


def _listed(names: list[str], most: int = 20) -> str:
    """Names for an error, not more than a person reads."""
    more = f", ... {len(names)} in all" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"


def _tried(folder: Study, settings: Search) -> dict[str, _Choice]:
    """Every plan that was tried, by its name: a sweep's cells, or a search's trials."""
    if folder.cells_file.is_file():
        cells = [each.cell for each in SweepTable.of(folder).results()]
        return {
            each.name: _Choice(f"trial-{each.name}", each.plan, each.start, each.seed)
            for each in cells
            if each.plan is not None
        }
    return {
        each.trial: _Choice(f"trial-{each.trial}", each.plan, STARTS[0], settings.seed)
        for each in folder.outcomes()
    }


def _identity(plan: Plan) -> str:
    return hashlib.sha256(plan.to_yaml().encode()).hexdigest()[:8]


@torch.no_grad()
def _reload(path: Path, model: nn.Module, task: Task) -> nn.Module:
    """Load what was packed; refuse a file that does not compute what was trained, bit for bit."""
    device = next(model.parameters()).device
    loaded = packed_file.load(path, float_model(task)).to(device)
    inputs = [v.to(device) if isinstance(v, Tensor) else v for v in task.example().inputs]
    first, second = model.eval()(*inputs), loaded(*inputs)
    while not isinstance(first, Tensor):
        first, second = first[0], second[0]
    double = first.dtype == torch.float64  # whose step sizes the file keeps in float32
    alike = torch.allclose(first, second, rtol=1e-6) if double else torch.equal(first, second)
    if not alike:
        raise RunError(f"'{path}' must compute what was trained, got other outputs")
    return loaded


def _read_result(place: Path, plan: Plan, training: Training) -> Applied | None:
    """What an earlier call with the same plan and training has made, if it is still whole."""
    file = place / "result.json"
    try:
        packed_file.read(place / "model.safetensors")
    except UserError:
        return None
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("training") != asdict(training):
            return None
        if Plan.from_dict(content.pop("plan")) != plan:
            return None
        for name in ("costs", "baseline_costs"):
            content[name] = PlanCosts(**content[name])
        return Applied(artifact=place / "model.safetensors", plan=plan, **content)
    except (ValueError, KeyError, TypeError):  # not as it was written
        return None


def _write_result(place: Path, applied: Applied, training: Training) -> None:
    content = {k: v for k, v in vars(applied).items() if k not in ("artifact", "plan")}
    content |= {"costs": asdict(applied.costs), "baseline_costs": asdict(applied.baseline_costs)}
    content |= {"plan": applied.plan.to_dict(), "training": asdict(training)}
    write_text(place / "result.json", json.dumps(content, indent=2) + "\n")
