"""What a user is told before and after a run: budgets that limit nothing, runs of -m, a stop."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import yaml

from autoquant.analysis.model_info import inspect_search
from autoquant.cli.command_table import COMMANDS
from autoquant.rounds.search_limits import noted
from autoquant.settings import Search
from autoquant.study.folder import Study
from autoquant.study.summary import search_tables
from tests.cli.typed import TASK, run
from tests.commands.samples import APPLIED
from tests.figures.samples import BASELINE, FLOAT_BYTES, REFERENCES, TRIALS
from tests.toys import language_task


def test_budgets_above_the_float_model_are_named(tmp_path):
    info = inspect_search(language_task(), Search(), Study(tmp_path / "none"))
    assert noted(info, ["0.5x", "1x"]) is info
    (line,) = noted(info, ["2x", "0.5x", "3x"]).notes
    size = info.float_bytes
    assert line == (
        f"budget 2x = {2 * size} bytes, 3x = {3 * size} bytes: above the float model's size, "
        f"{size} bytes, so that every plan fits whose layers do not grow"
    )


def test_a_budget_above_all_plans_of_solve(place, searched):
    line = "the budget is above the size of every plan of the study: the largest has "
    assert line in run(place, "solve", "study=done", "budget=9x").out
    assert line not in run(place, "solve", "study=done", "budget=0.2x").out


def test_a_plan_above_the_budget_of_its_study(place, applied, packed):
    shutil.copytree(place / "done", place / "tight")
    file = place / "tight/config.yaml"
    config = yaml.safe_load(file.read_text()) | {"budget": ["0.1x", "0.2x"]}
    file.write_text(yaml.safe_dump(config))
    limit = int(0.2 * Study(place / "done").baseline().size_bytes)
    size = packed.stat().st_size
    line = f"the plan has {size} bytes, above the study's budget 0.2x = {limit} bytes\n"
    assert size > limit
    assert line in run(place, "apply", "study=tight").err
    assert "above the study's budget" not in run(place, "apply", "study=done").err


def test_with_a_target_apply_shows_both_sizes():
    text = str(replace(APPLIED, target="c", target_bytes=310_000))
    rows = {
        line.split("  ")[1]: line.split()[-2:] for line in text.splitlines() if "size, " in line
    }
    assert rows == {"size, packed file": ["290", "kB"], "size, target=c": ["310", "kB"]}
    assert "the packed file has 290000 bytes" in text


@pytest.mark.parametrize(
    ("outcomes", "bytes_", "end"),
    [
        (REFERENCES, FLOAT_BYTES, " fit); more trials propose some"),
        (REFERENCES, 1, "no proposal within it has been trained; more trials propose some"),
        (TRIALS, FLOAT_BYTES, "no plan within it has a score within the bound"),
        ([replace(TRIALS[0], state="failed", score=None)], FLOAT_BYTES, "it has a score"),
    ],
)
def test_why_no_plan_is_chosen(outcomes, bytes_, end):
    notes = search_tables(BASELINE, outcomes, (bytes_,), (None,))[0].notes
    (line,) = (note for note in notes if note.startswith("budget"))
    assert line.endswith(end)


def test_profile_prints_the_notes_of_the_task(place, monkeypatch):
    from autoquant.tasks.language import LanguageTask

    monkeypatch.setattr(LanguageTask, "checks", lambda self, model: iter(()), raising=False)
    monkeypatch.setattr(LanguageTask, "notes", lambda self: ("3 files were left out",), False)
    assert "3 files were left out\n" in run(place, "profile", *TASK).err


def test_each_of_several_runs_has_a_heading(place, searched):
    several = ["study=done", "-m", "budget=0.2x,0.01x", "output=solved.yaml,null"]
    ran = run(place, "solve", *several)
    lines = [line for line in ran.out.splitlines() if "run" in line.split(" ")[0]]
    assert lines == [
        "run 1 of 4: budget=0.2x output=solved.yaml",
        "run 2 of 4: budget=0.2x output=null",
        "run 3 of 4: budget=0.01x output=solved.yaml",
        "run 4 of 4: budget=0.01x output=null",
    ]
    assert ran.out.splitlines()[-1].startswith("4 of 4 runs, 2 failed: run 3 (budget=0.01x ")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)


def test_what_is_told_when_a_command_is_stopped():
    going_on = [name for name, command in COMMANDS.items() if "goes on" in command.stopped]
    assert going_on == ["search", "sweep", "apply"]
