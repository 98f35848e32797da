from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from autoquant.analysis.model_info import profile
from autoquant.artifact.manifest import SizeBreakdown
from autoquant.cli import output
from autoquant.commands.apply import Applied
from autoquant.commands.search import SearchResult
from autoquant.commands.sweep import SweepResult
from autoquant.costs.plan_costs import PlanCosts as Costs
from autoquant.settings import Widening
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome
from tests.figures.samples import BASELINE, FLOAT_BYTES, PLAN, REFERENCES, TRIALS, run_result
from tests.toys import language_task


def result(best: Outcome | None, path: str = "runs/one") -> SearchResult:
    budget = FLOAT_BYTES // 8
    return SearchResult(Study(Path(path)), BASELINE, budget, (*REFERENCES, *TRIALS), best)


def test_the_profile_lists_every_layer_and_says_whether_it_may_grow(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    measured = profile(language_task(), Widening(max_share=1, max_growth=9))
    output.print_profile(measured)
    out = capsys.readouterr().out
    assert out.startswith(f"{measured.parameters:,} parameters, largest layers first")
    lines = out.splitlines()
    for layer in measured.layers:
        (row,) = (line for line in lines if line.split()[:1] == [layer.name] and "%" in line)
        assert f"{layer.parameters:,}" in row
        assert f"{layer.share:.1%}" in row
        (verdict,) = (line for line in lines if line.startswith(f"{layer.name} ("))
        assert (" may grow: " if layer.widenable else " stays: ") in verdict
        assert verdict.endswith(layer.reason)
    assert "rnn.l0 (lstm" in out.lower()
    assert "MACs/token" in out


def test_the_search_ends_with_its_results_and_the_next_command(capsys):
    output.print_search(result(TRIALS[1]), [Path("runs/one/figures/pareto.png")])
    assert capsys.readouterr().out.splitlines() == [
        "  float baseline         perplexity 38           2.4 MB  (1.0000x)",
        "  uniform 8-bit          perplexity 38.1         600 kB  (0.2500x)",
        "  uniform 4-bit          perplexity 38.6         300 kB  (0.1250x)",
        "  uniform 3-bit          perplexity 40           225 kB  (0.0938x)",
        "  uniform 2-bit          perplexity 47           150 kB  (0.0625x)",
        "  best plan, trial 1     perplexity 39           288 kB  (0.1200x)",
        "  budget 300000 bytes; short training, validation split",
        "Pareto plot: runs/one/figures/pareto.png",
        "plan:        runs/one/plan.yaml",
        "next:        autoquant apply study=runs/one",
    ]


def test_a_search_without_a_plan_proposes_no_next_command(capsys):
    output.print_search(result(None), [])
    out = capsys.readouterr().out
    assert "next:" not in out
    assert "plan:" not in out
    assert "best plan" not in out


@pytest.mark.parametrize("path", ["a b", "it's", "x$HOME", 'a"b', "ü"])
def test_the_next_command_can_be_pasted_into_a_shell(capsys, path):
    output.print_search(result(TRIALS[1], path), [])
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("next:"))
    assert shlex.split(line)[1:] == ["autoquant", "apply", f"study={path}"]


def test_apply_prints_the_float_model_beside_the_packed_one(capsys):
    costs = Costs(290_000, 1_200, 5_000_000, 80_000_000, 0.1234)
    applied = Applied(
        artifact=Path("runs/one/applied/plan-1/model.safetensors"),
        plan=PLAN,
        metric="perplexity",
        valid=38.25,
        test=37.5,
        baseline_valid=38.0,
        baseline_test=37.25,
        costs=costs,
        baseline_costs=replace(costs, size_bytes=FLOAT_BYTES, macs=4_000_000),
        steps=10,
        seconds=1.0,
        breakdown=SizeBreakdown(2_000, 280_000, 7_000, 1_000, 0),
    )
    output.print_applied(applied)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["float", "baseline", "packed", "plan"]
    assert lines[1].split() == ["perplexity,", "valid", "38.0000", "38.2500"]
    assert lines[2].split() == ["perplexity,", "test", "37.2500", "37.5000"]
    assert lines[3].split() == ["size", "2.4", "MB", "290", "kB"]
    assert lines[5].split() == ["MACs", "4,000,000", "5,000,000"]
    assert len({len(line) for line in lines[:7]}) == 1  # in columns
    assert lines[7] == (
        "  of the file: 280 kB layers, 7 kB norms, 1 kB uncovered tensors, 0 B assets, 2 kB header"
    )
    assert "the file has 290000 bytes, 0.1208x" in lines[8]
    assert lines[-2] == "packed file: runs/one/applied/plan-1/model.safetensors"
    assert lines[-1].endswith("evaluate artifact=runs/one/applied/plan-1/model.safetensors")


def test_a_sweep_is_a_table(capsys):
    lost = replace(run_result(None, 8, None, budget="0.1x"), state="too large", size_bytes=None)
    results = (replace(run_result(4, 8, 38.25), test=37.5), run_result(2, 8, None), lost)
    figures = [Path("runs/one/figures/grid.png"), Path("runs/one/figures/grid.svg")]
    swept = SweepResult(Study(Path("runs/one")), BASELINE, results, missing=1)
    output.print_sweep(swept, figures)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:7] == [
        ["float", "baseline", str(FLOAT_BYTES), "1.0000x", "38", "-"],
        ["w4-a8-x1-seed0", str(FLOAT_BYTES // 8), "0.1250x", "38.25", "37.5", "complete"],
        ["w2-a8-x1-seed0", str(FLOAT_BYTES // 16), "0.0625x", "-", "-", "diverged"],
        ["0.1x-a8-x1-seed0", "-", "-", "-", "-", "too", "large"],
        ["1", "run", "is", "being", "trained", "by", "other", "processes"],
    ]
    assert lines[7:] == [
        ["table:", "runs/one/runs.csv"],
        ["figure:", "runs/one/figures/grid.png"],
        ["next:", "autoquant", "apply", "study=runs/one", "trial=w4-a8-x1-seed0"],
    ]


@pytest.mark.parametrize(
    ("direction", "best"),
    [("minimize", "trial=w4-a8-x1-seed0"), ("maximize", "trial=w8-a8-x1-seed0")],
)
def test_a_sweep_names_its_best_run(direction, best, capsys):
    results = (run_result(8, 8, 39.0), run_result(4, 8, 38.0))
    record = replace(BASELINE, direction=direction)
    output.print_sweep(SweepResult(Study(Path("runs/one")), record, results, missing=0), [])
    assert capsys.readouterr().out.splitlines()[-1].endswith(best)


def test_a_sweep_without_a_score_has_no_best_run(capsys):
    swept = SweepResult(Study(Path("runs/one")), BASELINE, (run_result(2, 8, None),), missing=0)
    output.print_sweep(swept, [])
    assert "next:" not in capsys.readouterr().out
