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

from autoquant import artifact, cost
from autoquant.baseline import float_baseline, float_model
from autoquant.candidate import Base, train_candidate
from autoquant.compute import Compute, computing
from autoquant.cost import Costs
from autoquant.errors import RunError, UserError
from autoquant.files import write_text
from autoquant.graph import describe, prepare
from autoquant.outcome import complete
from autoquant.plan import Plan
from autoquant.settings import Search, Training, from_dict
from autoquant.study import Study
from autoquant.task import Task
from autoquant.training import check_autocast, resolve_device, score


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
    costs: Costs
    baseline_costs: Costs
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
    changes: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Applied:
    """Train a plan in full from the study's float baseline and pack it.

    An interrupted call resumes from its checkpoint; a finished one is not trained again.

    Args:
        study: the folder of a search.
        task: the task of that search.
        trial: a trial of the study to apply, such as "17" or "w4"; the best one when None.
        plan: a plan to apply instead.
        changes: fields of the study's ``final`` training to change, such as ``epochs``.
        device: where to train; the study's device when None.

    Raises:
        UserError: the study, trial or plan is not there, or does not fit the model.
        RunError: training diverged or the file cannot be written.
    """
    folder = Study.open(study)
    settings = _settings(folder)
    training = _training(settings, dict(changes or {}))
    name, plan = _choose(folder, trial, plan)
    network = describe(prepare(float_model(task)), task.example().inputs)
    cost.size_bytes(network, plan, settings.quantizer)  # refuses a plan of another model
    place = folder.applied(name)
    done = _read_result(place, plan, training)
    if done is not None:
        return done
    target = resolve_device(device or settings.device)
    check_autocast(training, target)
    trained, record = float_baseline(task, settings, folder, target, progress=progress)
    base = Base(task, prepare(trained), network, settings)
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
    artifact.save(path, candidate.model, network, plan, scheme)
    loaded = _reload(path, candidate.model, task)
    return Applied(
        artifact=path,
        plan=plan,
        metric=task.metric,
        valid=candidate.score,
        test=score(loaded, task, "test"),
        baseline_valid=math.nan,
        baseline_test=math.nan,
        costs=cost.costs_of(network, plan, scheme),
        baseline_costs=cost.float_costs(network),
        steps=candidate.run.steps,
        seconds=candidate.run.seconds,
    )


def _training(settings: Search, changes: dict[str, Any]) -> Training:
    """The study's full training with some fields changed; epochs given here outdo its steps."""
    if "epochs" in changes and "steps" not in changes:
        changes["steps"] = None
    return from_dict(Training, asdict(settings.final) | changes, "final.")


def _settings(folder: Study) -> Search:
    own = ("task", "sweep")  # a plan may be applied in the folder of a sweep too
    content = {key: value for key, value in folder.config().items() if key not in own}
    return from_dict(Search, content)


def _choose(folder: Study, trial: str | None, plan: Plan | None) -> tuple[str, Plan]:
    """The plan to apply, and a name for it."""
    if plan is not None:
        if trial is not None:
            raise UserError(f"apply takes a trial or a plan, got both (trial {trial})")
        return f"plan-{_identity(plan)}", plan
    if trial is None:
        chosen = folder.plan()
        return f"plan-{_identity(chosen)}", chosen
    outcomes = folder.outcomes()
    for outcome in outcomes:
        if outcome.trial == trial:
            return f"trial-{trial}", outcome.plan
    names = ", ".join(outcome.trial for outcome in complete(outcomes)) or "none"
    raise UserError(f"trial must be one of the study's ({names}), got {trial!r}")


def _identity(plan: Plan) -> str:
    return hashlib.sha256(plan.to_yaml().encode()).hexdigest()[:8]


@torch.no_grad()
def _reload(path: Path, model: nn.Module, task: Task) -> nn.Module:
    """Load what was packed; refuse a file that does not compute what was trained, bit for bit."""
    device = next(model.parameters()).device
    loaded = artifact.load(path, float_model(task)).to(device)
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
        artifact.read(place / "model.safetensors")
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
            content[name] = Costs(**content[name])
        return Applied(artifact=place / "model.safetensors", plan=plan, **content)
    except (ValueError, KeyError, TypeError):  # not as it was written
        return None


def _write_result(place: Path, applied: Applied, training: Training) -> None:
    content = {k: v for k, v in vars(applied).items() if k not in ("artifact", "plan")}
    content |= {"costs": asdict(applied.costs), "baseline_costs": asdict(applied.baseline_costs)}
    content |= {"plan": applied.plan.to_dict(), "training": asdict(training)}
    write_text(place / "result.json", json.dumps(content, indent=2) + "\n")
