"""The float baseline of a study: trained once, or taken from elsewhere, then kept in the folder."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from autoquant.errors import UserError
from autoquant.files import write_bytes
from autoquant.progress import SILENT, Progress
from autoquant.seeds import seed_everything
from autoquant.settings import Search
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.task_fingerprint import SCORE_TOLERANCE
from autoquant.task import Task
from autoquant.training.callbacks import OnStep
from autoquant.training.checkpoint import TrainingRun
from autoquant.training.float_model import (
    build_float_model,
    measure_size,
)
from autoquant.training.loop import train
from autoquant.training.recognise import (
    fingerprint_of,
    refuse_another_metric,
    refuse_another_task,
)
from autoquant.training.scoring import score
from autoquant.training.weights import Source, digest_of, load_weights, serialized


def load_or_train_baseline(
    task: Task,
    settings: Search,
    study: Study,
    device: torch.device,
    *,
    progress: Progress = SILENT,
    on_step: OnStep | None = None,
) -> tuple[nn.Module, BaselineRecord]:
    """The study's float model: read where it is there, else trained (resuming) and recorded.

    Args:
        task: gives the model, batches, loss and score.
        settings: gives the seed, ``pretrained`` and ``baseline``.
        study: the folder that the weights and the record are kept in.
        device: where the model is trained and scored.
        progress: shows how far the training is.
        on_step: called after each training step.

    Returns:
        the float model on the device, not prepared, and its record.

    Raises:
        UserError: the model's file is damaged or of another model; the study was made with another
            metric, data, score or forward; or only the record is there
            (studies travel without weights), and the model that is trained again has another score.
    """
    refuse_another_metric(task, study)
    seed_everything(settings.seed)
    model = build_float_model(task, progress).to(device)
    checkpoint = study.path / ".baseline.checkpoint"
    recorded = study.baseline() if study.baseline_record.is_file() else None
    if recorded and study.baseline_file.is_file():
        _refuse_other_weights(model, recorded, settings, study)
        _load_own_weights(model, recorded, study)
        refuse_another_task(task, model, settings.seed, recorded, study)
        checkpoint.unlink(missing_ok=True)  # of a process that was killed before it did
        return model, recorded
    if recorded:
        refuse_another_task(task, model, settings.seed, recorded, study, trained=False)
    if settings.pretrained is not None:
        _load_pretrained(model, settings.pretrained, progress)
    started = time.monotonic()
    run = TrainingRun()
    if settings.pretrained is None:
        options: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress}
        options |= {"label": "float baseline", "on_step": on_step}
        run = train(model, task, settings.baseline, seed=settings.seed, **options)
    with progress.bar("scoring the float model on the valid split"):
        record = _record(model, task, run, started)
    if recorded:
        _refuse_another_score(record, recorded, study)
        record = recorded
    else:
        record = replace(record, fingerprint=fingerprint_of(task, model, settings.seed))
    weights = serialized(model)
    record = replace(record, digest=hashlib.sha256(weights).hexdigest())
    if recorded:  # a process that is killed here leaves a record of weights that are to be made
        study.write_baseline(record)
    write_bytes(study.baseline_file, weights)
    if not recorded:
        study.write_baseline(record)
    checkpoint.unlink(missing_ok=True)
    return model, record


def _load_pretrained(model: nn.Module, source: Source, progress: Progress) -> None:
    """Load the weights that ``pretrained`` names.

    Args:
        model: takes them.
        source: see ``load_weights``.
        progress: is told where they are in half precision.
    """
    half = load_weights(model, source)
    if half is not None:
        progress.say(f"the weights of pretrained are in {half}: made float32")


def _record(model: nn.Module, task: Task, run: TrainingRun, started: float) -> BaselineRecord:
    """The record of a trained float model.

    Args:
        model: the float model.
        task: gives the score.
        run: its training; none where its weights were loaded.
        started: when that began, on the monotonic clock.
    """
    size_bytes, parameters = measure_size(model)
    return BaselineRecord(
        score=score(model, task, "valid"),
        size_bytes=size_bytes,
        parameters=parameters,
        metric=task.metric,
        direction=task.direction,
        steps=run.steps,
        seconds=run.seconds or time.monotonic() - started,
        history=tuple(run.scores),
    )


def _load_own_weights(model: nn.Module, record: BaselineRecord, study: Study) -> None:
    """Load the weights that were trained in a study.

    Args:
        model: takes them.
        record: has their digest, in studies of this version.
        study: that has the file.

    Raises:
        UserError: the file is damaged, of another model, or not the one that was written.
    """
    remedy = "; restore it, or remove it: the float model is then made anew"
    try:
        load_weights(model, study.baseline_file)
    except UserError as error:
        raise UserError(f"{error}{remedy}") from error
    if record.digest not in (None, digest_of(study.baseline_file)):
        raise UserError(
            f"'{study.baseline_file}' must hold the weights that were trained in this study, got "
            f"other ones{remedy}"
        )


def _refuse_other_weights(
    model: nn.Module, record: BaselineRecord, settings: Search, study: Study
) -> None:
    """Raise a UserError where a task gives a model that was trained again since.

    Args:
        model: as the task gives it.
        record: of the study's float model.
        settings: of the study; they say whether the model's weights are those that the task gives.
        study: named in the error.
    """
    given = settings.pretrained is None and settings.baseline.steps == 0
    if given and record.digest not in (None, hashlib.sha256(serialized(model)).hexdigest()):
        raise UserError(
            f"study '{study.path}' was made with a model of other weights than the task now has; "
            "give that model or another study folder"
        )


def _refuse_another_score(record: BaselineRecord, recorded: BaselineRecord, study: Study) -> None:
    """Raise a UserError where a float model that was trained again has another score.

    Args:
        record: of the new model.
        recorded: of the model whose weights are gone.
        study: named in the error.
    """
    if not math.isclose(record.score, recorded.score, rel_tol=SCORE_TOLERANCE):
        raise UserError(
            f"the float model of study '{study.path}', whose weights are gone, must score "
            f"{recorded.score:.6g} when it is made anew, got {record.score:.6g}; take another "
            "study folder"
        )
