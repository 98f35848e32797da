"""Errors of the packed models of a study, utterance by utterance, in ``errors.csv``."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.artifact.task_model import load_for_task
from autoquant.files import write_text
from autoquant.study import records
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepRunResult, SweepTable
from autoquant.tasks.speech.error_rates import ErrorRates
from autoquant.tasks.speech.speech_task import SpeechTask
from autoquant.training.threads import threads_set


@dataclass(frozen=True)
class RunErrors:
    """Errors of one packed model.

    Attributes:
        name: of the sweep's run.
        group: its name without the seed.
        size_share: bytes of the file over those of the float model.
        wer_test: word error rate of the test set alone.
        loss: CTC loss in nats a character, of the held-out speakers and the test set.
        rates: errors of each utterance of the held-out speakers, then of the test set.
    """

    name: str
    group: str
    size_share: float
    wer_test: float
    loss: float
    rates: ErrorRates

    @property
    def seed(self) -> str:
        """The end of its name."""
        return self.name.removeprefix(self.group)


def measure(folder: Path, task: SpeechTask) -> None:
    """Write the errors of the study's packed files that have none yet.

    Args:
        folder: of a sweep with ``sweep.save=true``.
        task: of the sweep.
    """
    study, found = Study.open(folder), read(folder)
    for result in SweepTable.of(study).results():
        run = result.run
        if result.state == "complete" and run.name not in {each.name for each in found}:
            found.append(_errors(study, result, task))
            rows = [records.to_row(each) for each in found]
            write_text(folder / "errors.csv", records.to_csv([*rows[0]], rows))
            print(f"{run.name}: word error rate {found[-1].rates.wer:.2%}", flush=True)


def read(folder: Path) -> list[RunErrors]:
    """The errors that have been measured.

    Args:
        folder: of the study.
    """
    path = folder / "errors.csv"
    if not path.is_file():
        return []
    return records.from_csv(RunErrors, path.read_text(encoding="utf-8"))


def _errors(study: Study, result: SweepRunResult, task: SpeechTask) -> RunErrors:
    """The errors of a run's packed file."""
    packed = load_for_task(study.packed_file(result.run.name), task, "cpu").eval()
    model = _Remembering(packed)
    with torch.no_grad(), threads_set(1):
        valid, test = (task.error_rates(model, split) for split in ("valid", "test"))
        losses = [task.ctc_loss(model, split) for split in ("valid", "test")]
    characters = [sum(valid.characters), sum(test.characters)]
    loss = sum(a * b for a, b in zip(losses, characters, strict=True)) / sum(characters)
    return RunErrors(
        name=result.run.name,
        group=result.run.group,
        size_share=result.size_share or 0.0,
        wer_test=test.wer,
        loss=loss,
        rates=ErrorRates(
            **{each.name: _joined(valid, test, each.name) for each in fields(ErrorRates)}
        ),
    )


def _joined(valid: ErrorRates, test: ErrorRates, name: str) -> tuple[int, ...]:
    """A count of each utterance of both splits."""
    both: tuple[int, ...] = getattr(valid, name) + getattr(test, name)
    return both


class _Remembering(nn.Module):
    """A model that computes each batch once, for its errors and for its loss.

    Args:
        model: in eval mode, on the CPU.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._outputs: dict[str, Any] = {}

    def forward(self, frames: Tensor, lengths: Tensor) -> Any:
        key = hashlib.sha256(frames.numpy().tobytes()).hexdigest()
        if key not in self._outputs:
            self._outputs[key] = self.model(frames, lengths)
        return self._outputs[key]


def by_group(errors: Iterable[RunErrors]) -> dict[str, list[RunErrors]]:
    """The runs of each plan, one for each seed.

    Args:
        errors: of a study.
    """
    groups: dict[str, list[RunErrors]] = defaultdict(list)
    for each in errors:
        groups[each.group].append(each)
    return dict(groups)


def pooled(runs: list[RunErrors]) -> ErrorRates:
    """The errors of each utterance, added up over the seeds.

    Args:
        runs: of one plan.
    """
    return ErrorRates(**{each.name: tuple(_summed(runs, each.name)) for each in fields(ErrorRates)})


def _summed(runs: list[RunErrors], name: str) -> Iterator[int]:
    """A count of each utterance, added up over the seeds."""
    return (sum(values) for values in zip(*(getattr(run.rates, name) for run in runs), strict=True))
