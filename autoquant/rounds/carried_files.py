"""CarriedFiles: takes the files of jobs to workers that do not see the study's folder, and back."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from autoquant.files import make_folder, write_bytes
from autoquant.rounds.training_job import JobContext, run_job
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult

LEVEL = 1
"""Of zlib: trained weights become little smaller at higher ones."""


@dataclass(frozen=True)
class SentJob:
    """A job on its way to a worker.

    Attributes:
        job: what is to be trained.
        files: what it continues from: by path in the study's folder, compressed content.
    """

    job: Job
    files: dict[str, bytes]


@dataclass(frozen=True)
class SentResult:
    """A result on its way back.

    Attributes:
        result: of the job.
        files: that the job wrote: by path in the study's folder, compressed content.
    """

    result: JobResult
    files: dict[str, bytes]


@dataclass(frozen=True)
class CarriedFiles:
    """Sends a job with the checkpoint that it continues from; writes what came back.

    Attributes:
        context: of the study, in this process.
    """

    context: JobContext

    def send(self, job: Job) -> SentJob:
        """A job and the files that it continues from.

        Args:
            job: of the study.

        Raises:
            OSError: a file is there and cannot be read.
        """
        return SentJob(job, _packed(self.context.study, _continued_from(self.context, job)))

    @staticmethod
    def run(context: JobContext, sent: SentJob) -> SentResult:
        """Run a job in a temporary folder of the worker.

        Args:
            context: of the study, as the worker received it.
            sent: the job and its files.
        """
        with tempfile.TemporaryDirectory(prefix="autoquant-") as folder:
            study = Study(folder)
            here = replace(context, study=study)
            make_folder(study.trunks)
            _unpack(study, sent.files)
            result = run_job(here, sent.job)
            return SentResult(result, _packed(study, _written_by(here, sent.job)))

    def receive(self, job: Job, received: SentResult) -> JobResult:
        """The result of a job, when its files are in the study's folder.

        Args:
            job: of the study.
            received: from the worker.

        Raises:
            RunError: the folder cannot be written.
        """
        _unpack(self.context.study, received.files)
        return received.result


def _continued_from(context: JobContext, job: Job) -> list[Path]:
    """Files that a job continues from, whether they are there or not.

    Args:
        context: of the study.
        job: of the study.
    """
    checkpoint = context.checkpoint(job)
    return [context.study.trunk(job.plan, job.order) if checkpoint is None else checkpoint]


def _written_by(context: JobContext, job: Job) -> list[Path]:
    """Files of a job that the study keeps, whether they are there or not.

    Args:
        context: of the study.
        job: of the study.
    """
    if context.checkpoint(job) is None:
        return [context.study.trunk(job.plan, job.order)]
    return [context.study.packed_file(job.label)] if context.save else []


def _packed(study: Study, paths: Iterable[Path]) -> dict[str, bytes]:
    """The contents of those files that there are.

    Args:
        study: of the files.
        paths: in its folder.
    """
    return {
        path.relative_to(study.path).as_posix(): zlib.compress(path.read_bytes(), LEVEL)
        for path in paths
        if path.is_file()
    }


def _unpack(study: Study, files: dict[str, bytes]) -> None:
    """Write files into a study's folder.

    Args:
        study: of the files.
        files: by path in the folder, compressed contents.
    """
    for name, content in files.items():
        path = study.path / name
        make_folder(path.parent)
        write_bytes(path, zlib.decompress(content))
