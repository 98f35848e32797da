"""JobLog: the results of a study's jobs, one line each, written as the jobs end."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from autoquant.errors import UserError
from autoquant.files import append_text, remove_incomplete_line, write_text
from autoquant.study import records
from autoquant.study.environment import Environment
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult, JobState


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the log: a JobResult without its plan; the fields are the columns.

    Attributes:
        plan: its fingerprint.
        steps: of the job's rung.
        order: of the job's data.
        seed: of the job; empty where it is that of the study.
        init_from: of the job.
        state: of the result, like all that follow.
        score: on the valid split.
        test: score on the test split.
        seconds: of the job.
        threads: of its environment; None where that is not known.
        instruction_set: of its environment; empty where that is not known, like those that follow.
        device: of its environment.
        torch: of its environment.
        host: name of the machine; empty where that is not known.
        reason: why it did not complete.
    """

    plan: str
    steps: int
    order: int
    seed: int | None
    init_from: str
    state: JobState
    score: float | None
    test: float | None
    seconds: float
    threads: int | None
    instruction_set: str
    device: str
    torch: str
    host: str
    reason: str


COLUMNS = tuple(field.name for field in fields(_Line))
"""Of the file, whose first line names them."""


_SHARED = ("init_from", "state", "instruction_set", "device", "torch", "host")
"""Fields that have the same few texts in all lines; each text is kept once."""


class JobLog:
    """The results of a study's jobs.

    One process at a time may open it: the one that holds the study's lock. A line is in the file
    when ``append`` returns. A process that was killed can leave an incomplete last line, which is
    removed when the log is opened.

    Args:
        path: of the file; made at the first result.

    Raises:
        UserError: the file is not what a search or a sweep wrote.
        RunError: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        remove_incomplete_line(path)
        if path.is_file() and not path.stat().st_size:
            path.unlink()  # the columns are named at the first result
        self._lines = {_key_of(line): line for line in map(_with_shared_texts, _read(path))}
        if path.is_file() and not _has_hosts(_first_line(path)):
            write_text(path, records.to_csv(COLUMNS, map(records.to_row, self._lines.values())))

    @classmethod
    def of(cls, study: Study) -> JobLog:
        """The log of a study.

        Args:
            study: of a search or a sweep.
        """
        return cls(study.jobs_file)

    def __len__(self) -> int:
        return len(self._lines)

    def result(self, job: Job) -> JobResult | None:
        """The result of a job that has ended; None where there is none.

        Args:
            job: of this study.
        """
        line = self._lines.get(_key(job))
        return None if line is None else _to_result(line, job)

    def append(self, result: JobResult) -> None:
        """Record a result; of several results of one job the last one counts.

        Args:
            result: of a job that has ended.

        Raises:
            RunError: the file cannot be written.
        """
        line = _with_shared_texts(_to_line(result))
        row = records.to_row(line)
        text = records.to_csv(COLUMNS, [row])
        if self._path.is_file():
            text = text.partition("\n")[2]  # the columns are named once
        append_text(self._path, text)
        self._lines[_key_of(line)] = line

    def environments(self) -> dict[Environment, int]:
        """The environments of the results, and how many are of each."""
        return _count_environments(self._lines.values())


def recorded_environments(path: Path) -> dict[Environment, int]:
    """The environments of a log's results, and how many are of each; the log is only read.

    Args:
        path: of the file; another process may be writing it. There may be none.

    Raises:
        UserError: the file is not what a search or a sweep wrote.
    """
    return _count_environments({_key_of(line): line for line in _read(path)}.values())


def _count_environments(lines: Iterable[_Line]) -> dict[Environment, int]:
    counts: dict[Environment, int] = {}
    for line in lines:
        if (environment := _environment_of(line)) is not None:
            counts[environment] = counts.get(environment, 0) + 1
    return counts


def _read(path: Path) -> Iterator[_Line]:
    """The complete lines of the file, in order."""
    if not path.is_file():
        return
    try:
        content = path.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        yield from records.from_csv(_Line, _with_hosts(complete.decode("utf-8")))
    except ValueError as error:
        raise UserError(
            f"'{path}' must be as autoquant wrote it; restore it, or remove it: then its jobs are "
            "trained again"
        ) from error


def _first_line(path: Path) -> str:
    """The line that names the columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return file.readline()


def _has_hosts(text: str) -> bool:
    """Whether a file has the column "host", which earlier versions did not have."""
    without = ",".join(name for name in COLUMNS if name != "host")
    return text.partition("\n")[0] != without


def _with_hosts(text: str) -> str:
    """The content of the file with the column "host"; any other content stays as it is."""
    if _has_hosts(text):
        return text
    rows = csv.DictReader(io.StringIO(text))
    return records.to_csv(COLUMNS, ({**row, "host": ""} for row in rows))


def _with_shared_texts(line: _Line) -> _Line:
    """The same line, whose texts are those of other lines where they are equal.

    torch names its version with a class of its own.
    """
    for name in _SHARED:
        object.__setattr__(line, name, sys.intern(str(getattr(line, name))))
    return line


_Key = tuple[str, int, int, int | None, str]
"""What tells a job from others: the first fields of a line."""


def _key(job: Job) -> _Key:
    return job.plan.fingerprint, job.steps, job.order, job.seed, job.init_from


def _key_of(line: _Line) -> _Key:
    return line.plan, line.steps, line.order, line.seed, line.init_from


def _to_line(result: JobResult) -> _Line:
    plan, steps, order, seed, init_from = _key(result.job)
    known = result.environment
    return _Line(
        plan=plan,
        steps=steps,
        order=order,
        seed=seed,
        init_from=init_from,
        state=result.state,
        score=result.score,
        test=result.test,
        seconds=round(result.seconds, 3),
        threads=None if known is None else known.threads,
        instruction_set="" if known is None else known.instruction_set,
        device="" if known is None else known.device,
        torch="" if known is None else known.torch,
        host=result.host,
        reason=" ".join(result.reason.split()),
    )


def _to_result(line: _Line, job: Job) -> JobResult:
    return JobResult(
        job=job,
        state=line.state,
        score=line.score,
        test=line.test,
        seconds=line.seconds,
        reason=line.reason,
        environment=_environment_of(line),
        host=line.host,
    )


def _environment_of(line: _Line) -> Environment | None:
    if line.threads is None:
        return None
    return Environment(line.threads, line.instruction_set, line.device, line.torch)
