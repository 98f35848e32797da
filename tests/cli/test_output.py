from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from autoquant.analysis.model_info import profile
from autoquant.cli import output
from autoquant.commands.search import SearchResult
from autoquant.commands.sweep import SweepResult
from autoquant.settings import Widening
from autoquant.study.folder import Study
from autoquant.study.noise import Difference
from autoquant.study.outcome import Outcome
from autoquant.study.selection import Selection
from tests.commands.samples import APPLIED
from tests.figures.samples import BASELINE, FLOAT_BYTES, REFERENCES, TRIALS, run_result
from tests.toys import language_task


def result(best: Outcome | None, path: str = "runs/one") -> SearchResult:
    budget = FLOAT_BYTES // 8
    chosen = None if best is None else Selection(best, best, (best,), Difference(0.0, 0.0))
    outcomes = (*REFERENCES, *TRIALS)
    return SearchResult(Study(Path(path)), BASELINE, (budget,), outcomes, (chosen,))


def test_the_profile_lists_every_layer_and_says_whether_it_may_grow(capsys):
    measured = profile(language_task(), Widening(max_share=1, max_growth=9))
    print(output.profile_answer(measured).text)
    out = capsys.readouterr().out
    assert out == f"{measured}\n"
    assert out.startswith(f"{measured.parameters:,} parameters, largest layers first")
    rows = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    for layer in measured.layers:
        size, verdict = (row for row in rows if row[0] == layer.name)
        assert size[1:4] == [f"{layer.parameters:,}", f"{layer.share:.1%}", f"{layer.macs:,}"]
        word = "may grow" if layer.widenable else "stays"
        assert verdict[1:] == [layer.kind, layer.shape, word, layer.reason]
    assert rows[1][3] == "MACs/token"


def test_the_search_ends_with_its_results_and_the_next_command(capsys):
    found = result(TRIALS[1])
    print(output.search_answer(found).text)
    assert capsys.readouterr().out == (
        f"{found}\n\nplan: runs/one/plan.yaml\nnext: autoquant apply study=runs/one\n"
        "dashboard: optuna-dashboard runs/one/journal.log\n"
    )


@pytest.mark.parametrize(
    ("study", "path"),
    [("a b", "'a b/journal.log'"), ("redis", "./redis/journal.log"), ("/x", "/x/journal.log")],
)
def test_a_search_names_the_command_of_the_dashboard(study, path):
    command = output.search_answer(result(TRIALS[1], study)).values["dashboard"]
    assert command == f"optuna-dashboard {path}"


def test_a_search_without_a_plan_proposes_no_next_command(capsys):
    print(output.search_answer(result(None)).text)
    out = capsys.readouterr().out
    assert "next:" not in out
    assert "plan: " not in out
    assert "best plan" not in out


@pytest.mark.parametrize("path", ["a b", "it's", "x$HOME", 'a"b', "ü"])
def test_the_next_command_can_be_pasted_into_a_shell(capsys, path):
    print(output.search_answer(result(TRIALS[1], path)).text)
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("next:"))
    assert shlex.split(line)[1:] == ["autoquant", "apply", f"study={path}"]


def test_each_command_names_the_one_that_shows_its_logs(capsys):
    line, named = (
        "logs: tensorboard --logdir 'runs/of mine/tensorboard'",
        Study(Path("runs/of mine")),
    )
    swept = SweepResult(named, BASELINE, (run_result(4, 8, 38.25),))
    print(output.search_answer(result(None, "runs/of mine"), tensorboard=True).text)
    print(output.search_answer(result(TRIALS[1], "runs/of mine"), tensorboard=True).text)
    print(output.sweep_answer(swept, tensorboard=True).text)
    print(output.apply_answer(APPLIED, logs=named.tensorboard).text)
    assert [x for x in capsys.readouterr().out.splitlines() if "tensorboard" in x] == [line] * 4


def test_apply_prints_its_result_and_the_next_command(capsys):
    print(output.apply_answer(APPLIED).text)
    assert capsys.readouterr().out == (
        f"{APPLIED}\n\nnext: autoquant evaluate artifact={APPLIED.artifact}\n"
    )


def test_a_sweep_prints_its_result_its_files_and_the_next_command(capsys):
    swept = SweepResult(Study(Path("runs/one")), BASELINE, (run_result(4, 8, 38.25),))
    print(output.sweep_answer(swept).text)
    assert capsys.readouterr().out == (
        f"{swept}\n"
        "\n"
        "table: runs/one/runs.csv\n"
        "next: autoquant apply study=runs/one trial=w4-a8-x1-seed0\n"
    )


@pytest.mark.parametrize(
    ("direction", "best"),
    [("minimize", "trial=w4-a8-x1-seed0"), ("maximize", "trial=w8-a8-x1-seed0")],
)
def test_a_sweep_names_its_best_run(direction, best, capsys):
    results = (run_result(8, 8, 39.0), run_result(4, 8, 38.0))
    record = replace(BASELINE, direction=direction)
    print(output.sweep_answer(SweepResult(Study(Path("runs/one")), record, results)).text)
    assert capsys.readouterr().out.splitlines()[-1].endswith(best)


def test_a_sweep_without_a_score_has_no_best_run(capsys):
    swept = SweepResult(Study(Path("runs/one")), BASELINE, (run_result(2, 8, None),))
    print(output.sweep_answer(swept).text)
    assert "next:" not in capsys.readouterr().out
