"""One training run: float or quantized, resumable, stopped when it diverges."""

from __future__ import annotations

import io
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer
from tqdm import tqdm

from autoquant.backend import computing, current, flushed_denormals
from autoquant.errors import Diverged, UserError
from autoquant.files import replacing
from autoquant.settings import Training
from autoquant.task import Direction, Split, SupportsDistillation, Task, as_loss

CHECKPOINT_SECONDS = 20.0
RECALIBRATIONS = (
    16  # times that step sizes are chosen anew, in the first half of a run from scratch
)
FINITE_EVERY = 20  # steps between looks at the loss; each look waits for the device

OnScore = Callable[[int, float], None]
Objective = Callable[[nn.Module, Any, Any], tuple[Tensor, Any]]  # model, batch, carry


@dataclass
class Run:
    """What a training run has done so far."""

    steps: int = 0
    seconds: float = 0.0
    scores: list[tuple[int, float]] = field(default_factory=list)
    """(step, score on the probe split) of the intermediate scores."""


def seed_everything(seed: int) -> None:
    """Seed every random source that training draws from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is the accelerator where there is one, else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            here = ", ".join(["auto", "cpu", *_accelerators()])
            rule = f"device must be one that torch has here ({here})"
            raise UserError(f"{rule}, got {name!r}") from error
        return torch.device(name)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator or torch.device("cpu")


def _accelerators() -> list[str]:
    """Names of the accelerators that are here: cuda, cuda:0, cuda:1, ..., or mps."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    if kind is None:
        return []
    count = torch.accelerator.device_count()
    return [kind.type, *(f"{kind.type}:{i}" for i in range(count) if kind.type != "mps")]


@torch.no_grad()
def score(model: nn.Module, task: Task, split: Split) -> float:
    """The task's metric on a split, in eval mode; the model's mode is restored.

    Raises:
        Diverged: the score is not finite.
    """
    training = model.training
    model.eval()
    try:
        with nn.utils.parametrize.cached():  # quantize the weights once, not once a batch
            value = float(task.score(model, split))
    finally:
        model.train(training)
    if not math.isfinite(value):
        raise Diverged(f"{task.metric} must be finite, got {value}")
    return value


def train(
    model: nn.Module,
    task: Task,
    settings: Training,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    label: str = "train",
    on_score: OnScore | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    recalibrate: Callable[[], None] | None = None,
) -> Run:
    """Train ``model`` in place and return what was done.

    Args:
        seed: of batches and dropout.
        teacher: the float model that ``settings.distill`` follows.
        label: name beside the progress bar.
        on_score: called with (step, probe score) after each intermediate score; what it raises
            ends the run.
        checkpoint: file to resume from and to save to every 20 seconds; the caller deletes it.
        recalibrate: called RECALIBRATIONS times between steps, evenly spaced over the first half of
            the run.

    Raises:
        Diverged: the loss or a score is not finite.
        UserError: the device, or the task, cannot do what the settings ask for.
    """
    total = settings.length(task.steps_per_epoch())
    device = next(model.parameters()).device
    check_autocast(settings, device)
    optimizer = _optimizer(model, settings)
    stepper = _Stepper(model, objective(task, settings, teacher), optimizer, settings, device)
    fall, warmup = settings.schedule, settings.warmup
    schedule = LambdaLR(optimizer, lambda step: _rate(step, total, warmup, fall))
    seed_everything(seed)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if stepper.scaler.is_enabled():
        parts["scaler"] = stepper.scaler
    keeper = _Keeper(task.direction) if settings.keep == "best" else None
    if keeper is not None:
        parts["keeper"] = keeper
    saver = _Saver(checkpoint, (settings, seed, total), parts, device)
    run, carry = saver.restore()
    due, recalibrations = _score_steps(total, settings.scores), _recalibration_steps(total)
    model.train()
    started = time.monotonic() - run.seconds
    bar = tqdm(
        total=total, initial=run.steps, desc=label, unit="step", leave=False, disable=not progress
    )
    asked = replace(current(), precision=settings.precision)
    with bar, flushed_denormals(), computing(asked):
        batches = islice(task.batches(seed, start=run.steps), total - run.steps)
        for batch in batches:
            loss, carry = stepper.step(batch, carry)
            schedule.step()
            run.steps += 1
            if recalibrate is not None and run.steps in recalibrations:
                recalibrate()
            run.seconds = time.monotonic() - started
            bar.update()
            if run.steps % FINITE_EVERY == 0 or run.steps == total:
                _check_finite(loss, run.steps)
                bar.set_postfix(loss=f"{float(loss):.3f}", refresh=False)
            if run.steps in due:
                _intermediate(model, task, run, keeper, on_score)
            saver.save_if_due(run, carry)
    if keeper is not None:
        keeper.offer(score(model, task, "probe"), model)
        keeper.restore(model)
    saver.save(run, carry)
    return run


def objective(task: Task, settings: Training, teacher: nn.Module | None) -> Objective:
    """The task's loss, or a mix of it with what the teacher says."""
    if not settings.distill:
        return task.loss
    if teacher is None:
        rule = "distill must be 0 for the float model, which has no teacher"
        raise UserError(f"{rule}, got {settings.distill}")
    if not isinstance(task, SupportsDistillation):
        rule = "distill must be 0 for a task without distillation_loss"
        raise UserError(f"{rule}, got {settings.distill} for {task.name}")
    return _taught(task, teacher, settings.distill)


def _taught(task: SupportsDistillation, teacher: nn.Module, share: float) -> Objective:
    teacher.eval()

    def loss(model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        return task.distillation_loss(model, teacher, batch, carry, share)

    return loss


class _Keeper:
    """The weights with the best score so far."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._best: dict[str, Any] = {"score": math.inf, "weights": {}}

    def offer(self, value: float, model: nn.Module) -> None:
        """Keep a copy of the model's weights if no earlier ones scored better."""
        loss = as_loss(value, self._direction)
        if loss <= self._best["score"]:
            weights = {name: each.clone() for name, each in model.state_dict().items()}
            self._best = {"score": loss, "weights": weights}

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights that were kept."""
        model.load_state_dict(self._best["weights"])

    def state_dict(self) -> dict[str, Any]:
        return self._best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = state


def _optimizer(model: nn.Module, settings: Training) -> Optimizer:
    scales: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith("log_scale"):
            scales.append(parameter)
        else:
            (weights if parameter.ndim > 1 else biases).append(parameter)
    groups = [
        {"params": weights, "lr": settings.lr, "weight_decay": settings.weight_decay},
        {"params": biases, "lr": settings.lr, "weight_decay": 0.0},
        {"params": scales, "lr": settings.scale_lr, "weight_decay": 0.0},
    ]
    kind = torch.optim.SGD if settings.optimizer == "sgd" else torch.optim.AdamW
    return kind([group for group in groups if group["params"]], fused=True)


def _rate(step: int, total: int, warmup: float, schedule: str = "cosine") -> float:
    """Share of the peak learning rate at a step: linear warm-up, then as the schedule says."""
    rising = warmup * total
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "steps":  # whole numbers: 0.4 * total may be a little off
        return 1.0 if 10 * step < 4 * total else 0.1 if 10 * step < 8 * total else 0.01
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1.0, total - rising))))


def _score_steps(total: int, scores: int) -> set[int]:
    """Steps after which an intermediate score is due: evenly spaced, never the last."""
    return {round(total * i / (scores + 1)) for i in range(1, scores + 1)} - {0, total}


def _recalibration_steps(total: int) -> set[int]:
    """Steps after which step sizes are chosen anew; every one of them in a very short run."""
    return {round(total * i / (2 * RECALIBRATIONS)) for i in range(1, RECALIBRATIONS + 1)}


def check_autocast(settings: Training, device: torch.device) -> None:
    """Raise a UserError where a device cannot train under the autocast that is asked for."""
    if settings.autocast == "float16" and device.type != "cuda":
        raise UserError(
            "autocast=float16 must have a CUDA device (its gradients are scaled there), got "
            f"device={device}; take autocast=bfloat16 or none"
        )


class _Stepper:
    """One step of training after the other."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: Optimizer,
        settings: Training,
        device: torch.device,
    ) -> None:
        self._model, self._objective, self._optimizer = model, objective, optimizer
        self._clip_norm, self._device = settings.clip_norm, device
        self._narrow = None if settings.autocast == "none" else getattr(torch, settings.autocast)
        narrowest = self._narrow == torch.float16  # small gradients would vanish
        self.scaler = torch.amp.GradScaler(device.type, enabled=narrowest)

    def step(self, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        """Train on a batch; its loss and the carry for the next one."""
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss, carry = self._objective(self._model, batch, carry)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return loss.detach(), carry

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        if self._narrow is None:
            yield
            return
        with _without_onednn(self._device), torch.autocast(self._device.type, self._narrow):
            yield


@contextmanager
def _without_onednn(device: torch.device) -> Iterator[None]:
    """Do without oneDNN where it lacks bfloat16: torch asks it for an LSTM all the same."""
    if device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        yield
        return
    library: Any = torch.backends.mkldnn
    before, library.enabled = library.enabled, False
    try:
        yield
    finally:
        library.enabled = before


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise Diverged(f"the training loss must be finite, got {float(loss)} at step {step}")


def _intermediate(
    model: nn.Module, task: Task, run: Run, keeper: _Keeper | None, on_score: OnScore | None
) -> None:
    value = score(model, task, "probe")
    run.scores.append((run.steps, value))
    if keeper is not None:
        keeper.offer(value, model)
    if on_score is not None:
        on_score(run.steps, value)


class _Saver:
    """Checkpoints of one run: its parts, which have a state_dict, random state, carry."""

    def __init__(
        self,
        path: Path | None,
        identity: object,
        parts: dict[str, Any],
        device: torch.device,
    ) -> None:
        self._path = path
        self._identity = repr(identity)
        self._device = device
        self._parts = parts
        self._saved = time.monotonic()

    def restore(self) -> tuple[Run, Any]:
        """Where the saved run stopped; a new run where nothing, or another run, was saved."""
        if self._path is None or not self._path.exists():
            return Run(), None
        state = torch.load(self._path, weights_only=True, map_location="cpu")
        if state["identity"] != self._identity:
            return Run(), None
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["device_random"], self._device)
        return Run(**state["run"]), _moved(state["carry"], self._device)

    def save_if_due(self, run: Run, carry: Any) -> None:
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save(run, carry)

    def save(self, run: Run, carry: Any) -> None:
        if self._path is None:
            return
        state = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"random": torch.get_rng_state(), "run": vars(run), "carry": carry}
        if self._device.type == "cuda":
            state["device_random"] = torch.cuda.get_rng_state(self._device)
        state["identity"] = self._identity
        buffer = io.BytesIO()  # torch's own file writer hides why a write failed
        torch.save(state, buffer)
        with replacing(self._path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        self._saved = time.monotonic()


def _moved(carry: Any, device: torch.device) -> Any:
    """A carry with its tensors on a device."""
    if isinstance(carry, Tensor):
        return carry.to(device)
    return tuple(_moved(part, device) for part in carry) if isinstance(carry, tuple) else carry
