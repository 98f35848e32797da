"""What is neither a setting nor an option is refused, with what was probably meant."""

from __future__ import annotations

import pytest

from autoquant.cli.arguments import check_arguments, options_last
from autoquant.errors import UserError
from tests.cli.typed import refused, run

OPTION = "an option must be one of --help, --json, "


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ["budget", "0.2x"],
            "a setting must look like key=value, got 'budget' (near: budget=0.2x)",
        ),
        (["budget=", "0.2x"], "got '0.2x' (near: budget=0.2x)"),
        (["budget", "=0.2x"], "got 'budget' (near: budget=0.2x)"),
        (["task.hidden", "8"], "got 'task.hidden' (near: task.hidden=8)"),
        (["--budget=0.2x"], "without dashes, got '--budget=0.2x' (near: budget=0.2x)"),
        (["budgt"], "got 'budgt' (near: budget)"),
        (["hello"], "a setting must look like key=value, got 'hello'"),
        (["."], "got '.' (near: study=.)"),
        (["--helpp"], f"{OPTION}"),
        (["--helpp"], "got '--helpp' (near: --help)"),
        (["--multirun=3"], "--multirun must have no value, got '3'"),
        (["--cfg"], "--cfg must be followed by a value"),
        (["--cfg", "jobs"], "--cfg must be one of job, hydra, all, got 'jobs'"),
        (["-cjobs"], "-c must be one of job, hydra, all, got 'jobs'"),
        (["--config-dir=gone"], "--config-dir must be an existing folder, got 'gone'"),
    ],
)
def test_refused(typed, line):
    with pytest.raises(UserError) as caught:
        check_arguments("search", typed)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        ["budget=0.1x", "-m", "--multirun", "--json"],
        ["--cfg", "job", "--resolve", "-p", "task", "trials=3"],
        ["-cjob"],
        ["--info"],
        ["--info", "plugins", "-cd", "."],
        ["~task.root", "+nothing=3"],
    ],
)
def test_taken(typed):
    check_arguments("search", typed)


def test_json_prints_no_configuration():
    with pytest.raises(UserError, match="--json must be typed without --cfg"):
        check_arguments("search", ["--cfg=job"], as_json=True)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["serach"], "got 'serach' (near: search)"),
        (["help", "sovle"], "got 'sovle' (near: solve)"),
        (["search", "task=stdlb"], "got 'stdlb' (near: stdlib)"),
        (["search", "model=lstmm"], "got 'lstmm' (near: lstm)"),
        (["search", "budget=0.5"], "budget must be a text such as '0.15x'"),
        (["solve", "study=done", "budget=[1x,2x]"], "budget must be one text, got "),
    ],
)
def test_refused_on_the_command_line(tmp_path, typed, line):
    assert line in refused(run(tmp_path, *typed))


def test_help_of_a_command(tmp_path):
    assert run(tmp_path, "help", "solve") == run(tmp_path, "solve", "--help")
    assert run(tmp_path, "search", "--version") == run(tmp_path, "--version")


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        (["a=1", "-m", "b=2,3"], ["a=1", "b=2,3", "-m"]),
        (["--cfg", "job", "a=1"], ["a=1", "--cfg", "job"]),
        (["--cfg=job", "a=1", "~b"], ["a=1", "~b", "--cfg=job"]),
        (["--config-dir", "mine", "a=1", "-m"], ["a=1", "--config-dir", "mine", "-m"]),
        (["a=1", "--info"], ["a=1", "--info"]),
    ],
    ids=["several runs", "an option with a value", "in one word", "a folder", "no value"],
)
def test_options_may_stand_anywhere(typed: list[str], passed: list[str]) -> None:
    assert options_last(typed) == passed
