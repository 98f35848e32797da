"""Transcribe: the words of a sound, recognised by a packed file."""

from __future__ import annotations

from pathlib import Path

from autoquant.artifact.task_model import load_for_task
from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.progress import opened
from autoquant.task import Task, Transcribes, Transcript, check_order, check_task


def transcribe(
    path: str | Path,
    task: Task,
    audio: str | Path,
    *,
    device: str = "auto",
    kernel: str = "auto",
    progress: bool = True,
) -> Transcript:
    """The words of a sound.

    Alphabet and features are those that are stored beside the packed file: the corpus is not read.

    Args:
        path: of the packed file.
        task: gives the float model that was packed; it must follow ``Transcribes``.
        audio: the sound: a file of wav, FLAC, SPH, Ogg or MP3. Other sample rates than the model's,
            and several channels, are converted; the result says so.
        device: where to compute: auto, cpu, cuda, cuda:1, mps.
        kernel: what computes quantized layers: auto, native, torch or reference.
        progress: whether to show on stderr that it takes long.

    Returns:
        the words, and how the sound was converted.

    Raises:
        UserError: a file is missing, damaged or of another model than the task's; the task is no
            autoquant.Task, or recognises no speech.
    """
    check_order("transcribe", path, task)
    check_task(task)
    if not isinstance(task, Transcribes):
        raise UserError(f"the task must recognise speech, got {task.name}")
    if not Path(audio).is_file():
        raise UserError(f"audio must be an existing file, got '{audio}'")
    model = load_for_task(path, task, device).eval()
    with (
        opened(progress, "transcribe") as shown,
        shown.phase(f"recognising '{audio}'"),
        computing(Compute(kernel)),
    ):
        return task.transcribe(model, Path(audio))
