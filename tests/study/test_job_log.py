import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from torch.torch_version import TorchVersion

from autoquant.errors import UserError
from autoquant.plan import LayerChoice, Plan
from autoquant.study import job_log
from autoquant.study.environment import Environment
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.study.job_log import COLUMNS, JobLog, recorded_environments

PLAN = Plan({"rnn.l0": LayerChoice(1.6, 8, 1.5, hidden_bits=4), "decoder": LayerChoice(4, 8)})
OTHER = Plan({"rnn.l0": LayerChoice(1.6, 8, 1.5), "decoder": LayerChoice(4, 8)})
HERE = Environment(1, "AVX2+avx2", "cpu", "2.13.0")
COMPLETE = JobResult(Job(PLAN, 100), "complete", 1 / 3, 0.1, 9.25, environment=HERE, host="node-a")
DIVERGED = JobResult(
    Job(PLAN, 100, 1), "diverged", seconds=1.5, reason='the loss, got "nan"', environment=HERE
)
LOST = JobResult(Job(OTHER, 400), "failed", reason="its worker died 3 times:\nexit code -9")
SWEPT = JobResult(Job(OTHER, 400, seed=3, init_from="scratch"), "complete", 0.25, environment=HERE)
RESULTS = (COMPLETE, DIVERGED, SWEPT, LOST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = JobLog.of(Study(tmp_path))
    assert len(log) == 0
    assert log.result(COMPLETE.job) is None
    for result in RESULTS:
        log.append(result)
    return tmp_path / "jobs.csv"


def test_a_log_reads_what_it_wrote(path: Path) -> None:
    log = JobLog(path)
    assert log.result(COMPLETE.job) == COMPLETE
    assert log.result(DIVERGED.job) == DIVERGED
    assert log.result(LOST.job) == replace(LOST, reason="its worker died 3 times: exit code -9")
    assert [log.result(job) for job in (Job(OTHER, 100), Job(PLAN, 400), Job(PLAN, 100, 2))] == [
        None
    ] * 3
    assert log.result(SWEPT.job) == SWEPT
    assert log.result(replace(SWEPT.job, seed=0)) is None
    assert log.result(replace(SWEPT.job, init_from="baseline")) is None
    assert len(log) == 4
    assert log.environments() == {HERE: 3}


def test_its_lines(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1] == (
        f"{PLAN.fingerprint},100,0,,baseline,complete,0.3333333333333333,0.1,9.25,1,AVX2+avx2,cpu,2.13.0,node-a,"
    )
    assert lines[1].startswith(PLAN.digest)
    assert len(lines) == 5


def test_of_two_results_of_a_job_the_last_one_counts(path: Path) -> None:
    again = replace(LOST, state="complete", score=0.5, reason="", environment=HERE)
    log = JobLog(path)
    log.append(again)
    assert log.result(LOST.job) == again
    assert JobLog(path).result(LOST.job) == again


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_is_written_again(path: Path, cut: int) -> None:
    complete = path.read_bytes()
    path.write_bytes(complete[:-cut])
    log = JobLog(path)
    assert log.result(DIVERGED.job) == DIVERGED
    assert log.result(LOST.job) is None
    log.append(LOST)
    assert path.read_bytes() == complete


def test_environments_are_read_from_a_log_that_is_being_written(path: Path) -> None:
    assert recorded_environments(path) == {HERE: 3} == JobLog(path).environments()
    whole = path.read_bytes()
    path.write_bytes(whole + b"half a li")
    assert recorded_environments(path) == {HERE: 3}
    assert path.read_bytes() == whole + b"half a li"
    assert recorded_environments(path.with_name("none.csv")) == {}


def test_a_heading_that_was_cut_is_written_again(path: Path) -> None:
    path.write_text(",".join(COLUMNS)[:20])
    JobLog(path).append(COMPLETE)
    assert JobLog(path).result(COMPLETE.job) == COMPLETE


@pytest.mark.parametrize(
    ("old", "new"), [("complete", "begun"), ("plan,", "plans,"), ("100", "1e9x")]
)
def test_a_damaged_log(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=r"jobs\.csv' must be as autoquant wrote it"):
        JobLog(path)


def test_a_log_without_hosts_is_read_and_goes_on(tmp_path: Path) -> None:
    log, path = JobLog(tmp_path / "jobs.csv"), tmp_path / "jobs.csv"
    log.append(COMPLETE)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    at = lines[0].index("host")
    path.write_text("".join(",".join(line[:at] + line[at + 1 :]) + "\n" for line in lines))
    assert recorded_environments(path) == log.environments()
    again = JobLog(path)
    assert again.result(COMPLETE.job) == replace(COMPLETE, host="")
    other = replace(COMPLETE, job=replace(COMPLETE.job, order=7), host="node-b")
    again.append(other)
    assert JobLog(path).result(other.job) == other
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_line_costs_the_same_with_many_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes that are written and rows that are made; no line is read."""
    log, written, rows = JobLog(tmp_path / "jobs.csv"), [0], [0]
    real_append, real_row = job_log.append_text, job_log.records.to_row

    def append_text(path: Path, text: str) -> None:
        written[0] += len(text)
        real_append(path, text)

    def to_row(record: object) -> dict[str, str]:
        rows[0] += 1
        return real_row(record)

    monkeypatch.setattr(job_log, "append_text", append_text)
    monkeypatch.setattr(job_log.records, "to_row", to_row)
    monkeypatch.setattr(job_log.records, "from_csv", None)
    log.append(replace(COMPLETE, job=Job(PLAN, 100, 9)))  # names the columns
    counts = []
    for order in range(1000, 1300):
        written[0] = rows[0] = 0
        log.append(replace(COMPLETE, job=Job(PLAN, 100, order)))
        counts.append((written[0], rows[0]))
    assert len({*counts}) == 1
    assert counts[0][1] == 1


def test_a_line_is_small_in_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "jobs.csv", 500
    rest = ",,9.25,1,AVX2,cpu,2.13.0,node-a,"
    lines = [f"{i:016x},100,0,,baseline,complete,0.5{i}{rest}" for i in range(count)]
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    JobLog(path)  # what is made once
    tracemalloc.start()
    log = JobLog(path)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(log) == count
    assert used / count < 1000
    assert len({id(line.torch) for line in log._lines.values()}) == 1


def test_a_version_of_a_class_of_its_own(tmp_path: Path) -> None:
    """torch.__version__ is one."""
    environment = replace(HERE, torch=TorchVersion("2.13.0"))
    log = JobLog(tmp_path / "jobs.csv")
    log.append(replace(COMPLETE, environment=environment))
    assert (
        log.result(COMPLETE.job) == COMPLETE == JobLog(tmp_path / "jobs.csv").result(COMPLETE.job)
    )
