"""What commands say on stderr where that is no terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from autoquant.commands.apply import apply
from autoquant.commands.search import SearchResult, search
from autoquant.commands.sweep import sweep
from autoquant.settings import Rounds, Search, Space, Sweep, Training
from tests.toys import language_task

SETTINGS = Search(
    budget="9kB",
    trials=2,
    device="cpu",
    sensitivity=0,
    references=(2,),
    baseline=Training(steps=3, scores=1),
    qat=Training(steps=5),
    final=Training(steps=10),
    rounds=Rounds(size=1, orders=1, medium=1.0, full=True, finalists=1, spread=0.0),
    space=Space(width=(1.0,)),
    sampler="random",
)
SCORE = r"perplexity [\d.]+(?: ± [\d.e-]+)?"


def toy() -> Any:
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


def lines_of(err: str) -> list[str]:
    """The lines of a log, without their times.

    Args:
        err: what was written to stderr.
    """
    assert "\r" not in err
    assert "\x1b" not in err
    assert all(re.match(r"\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in err.splitlines())
    return [line[16:] for line in err.splitlines()]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, list[str]]:
    """A search, and the lines of its log."""
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        found = search(toy(), SETTINGS, study=tmp_path_factory.mktemp("search"))
    return found, lines_of(log.getvalue())


def test_the_log_of_a_search(searched: tuple[SearchResult, list[str]]) -> None:
    found, lines = searched
    patterns = (
        "task toy, budget 9kB, study .*",
        "budget 9kB = 9000 bytes: above the float model's size, .*",
        "float model: started",
        rf"float model: .* weights, 3 steps, {SCORE} \(valid\)",
        "float model: ended after .* s",
        "references: started",
        rf"trial   w2  reference .* B \(0.*x\) +5 steps  {SCORE} \(valid\)  scored  .* s  "
        r"\[1 of 1 training\]",
        "references: ended after .* s",
        "proposals on the short rung: started",
        rf"trial    0  search .* 5 steps  {SCORE} \(valid\)  scored  .* s  \[1 of 2 trainings.*\]",
        rf"trial    1  search .* 5 steps  {SCORE} \(valid\)  scored  .* s  \[2 of 2 trainings\]",
        "proposals on the short rung: ended after .* s",
        "finalists on the full rung: started",
        r"\d of 2 trials go on to 10 steps: .*",
        rf"trial    \d  search .* 10 steps  {SCORE} \(valid\)  scored .*\[1 of \d training.*\]",
    )
    for line, pattern in zip(lines, patterns, strict=False):
        assert re.fullmatch(pattern, line), line
    assert re.fullmatch("time: .* in all", lines[-1])
    assert re.fullmatch("finalists on the full rung: ended after .* s", lines[-2])
    trainings = [line for line in lines if line.startswith("trial ")]
    assert len(trainings) == sum(len(outcome.scores) for outcome in found.outcomes)


def test_scores_have_a_split_in_the_table_of_outcomes(
    searched: tuple[SearchResult, list[str]],
) -> None:
    found, _ = searched
    with found.study.outcomes_file.open(newline="") as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["valid"] * len(found.outcomes)
    heading = found.study.plan_file.read_text().splitlines()[0]
    assert re.search(r"perplexity [\d.]+ \(valid\)", heading)


def test_the_log_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = Sweep(weight_bits=(2, 4), test=True)
    sweep(toy(), SETTINGS, sweep=grid, study=tmp_path / "study")
    lines = lines_of(capsys.readouterr().err)
    assert lines[3] == "runs: started"
    for number, line in enumerate(lines[4:6], start=1):
        scores = r"perplexity +[\d.]+ \(valid\) +[\d.]+ \(test\)"
        pattern = rf"w\d-.* B \(.*x\)  {scores}  complete  10 steps, .* s  \[{number} of 2 runs.*\]"
        assert re.fullmatch(pattern, line), line
    assert lines[6].startswith("runs: ended after ")


def test_the_log_of_applying(
    searched: tuple[SearchResult, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    apply(searched[0].study, toy(), trial="w2")
    lines = lines_of(capsys.readouterr().err)
    assert lines[0] == "training the plan: started"
    assert re.fullmatch(r"training the plan: ended after .* s", lines[1])
