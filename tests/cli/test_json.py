"""``--json``: one object on the output, with keys that programs may rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from autoquant.cli.task_builder import build_task, recorded_task
from autoquant.commands.apply import apply
from autoquant.plan import Plan
from autoquant.study.folder import Study
from tests.cli.typed import ROOT, TASK, TINY, run

BASELINE = {"score", "test", "size_bytes", "parameters", "steps", "seconds"}
SCORE = {"trial", "size_bytes", "size_share", "score", "standard_error"}
TRIAL = SCORE | {"role", "state", "reason", "steps", "seconds"}
BUDGET = {"budget_bytes", "budget_share", "chosen", "first", "gain", "gain_standard_error", "level"}
SEARCH = {
    "study",
    "metric",
    "direction",
    "baseline",
    "budgets",
    "front",
    "hypervolume",
    "trials",
} | {
    *(
        "largest_loss",
        "target",
        "figures",
        "page",
        "seconds",
        "plan_file",
        "next",
        "dashboard",
        "logs",
    )
}
SWEEP = {"study", "metric", "direction", "baseline", "best", "results", "figures", "page"} | {
    *("table", "next", "logs")
}
SWEEP_RUN = {"name", "seed", "init_from", "weight_bits", "activation_bits", "width", "budget"} | {
    *("state", "valid", "test", "size_bytes", "size_share", "paper_size_ratio"),
    *("activation_bytes", "steps", "seconds", "reason"),
}
SOLVE = {"budget_bytes", "largest_bytes", "size_bytes", "size_share", "metric", "predicted"} | {
    *("deviation", "baseline", "trial", "plan", "plan_file", "next")
}
APPLY = {"artifact", "plan", "metric", "valid", "test", "baseline_valid", "baseline_test"} | {
    *("costs", "baseline_costs", "steps", "seconds", "breakdown", "target", "target_bytes"),
    *("size_bytes", "size_share", "next", "logs"),
}
EVALUATE = {"artifact", "metric", "score", "split", "file", "size_bytes"}
EXPORT = {"format", "artifact", "files", "packed_bytes", "bytes", "times", "difference"} | {
    *("scores", "weights", "floats", "memory", "notes")
}
PROFILE = {"layers", "parameters", "unit", "coverage", "rules", "notes"}


def values(place: Path, *arguments: str) -> dict[str, Any]:
    """The object that a command writes; everything else is on stderr."""
    ran = run(place, *arguments)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out, parse_constant=pytest.fail)
    return found


def test_search(place, searched, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [Path("a.png")])
    found = values(place, "search", *TINY, "study=done", "--json")
    study = Study(place / "done")
    assert found.keys() == SEARCH
    assert found["baseline"].keys() == BASELINE
    assert [each.keys() for each in found["budgets"]] == [BUDGET]
    assert [each.keys() for each in found["trials"]] == [TRIAL] * 2
    assert [each.keys() for each in found["front"]] == [SCORE]
    assert found["study"] == "done"
    assert found["figures"] == ["a.png"]
    assert found["next"] == "autoquant apply study=done"
    assert found["dashboard"] == "optuna-dashboard done/journal.log"
    assert found["baseline"]["score"] == study.baseline().score
    outcomes = {each.trial: each for each in study.outcomes()}
    for row in found["trials"]:
        outcome = outcomes[row["trial"]]
        assert (row["score"], row["size_bytes"]) == (outcome.score, outcome.size_bytes)
        assert row["size_share"] == outcome.size_bytes / study.baseline().size_bytes
    chosen = found["budgets"][0]["chosen"]
    assert chosen.keys() == TRIAL | {"plan"}
    assert chosen["trial"] == found["budgets"][0]["first"] == "0"
    assert Plan.from_yaml(json.dumps(chosen["plan"])) == study.plan()


def test_apply(place, applied, packed):
    found = values(place, "--json", "apply", "study=done")
    stored = json.loads((packed.parent / "result.json").read_text())
    assert found.keys() == APPLY
    assert found["artifact"] == str(packed.relative_to(place))
    assert {name: found[name] for name in ("valid", "test", "steps")} == {
        name: stored[name] for name in ("valid", "test", "steps")
    }
    assert found["size_bytes"] == packed.stat().st_size
    assert found["plan"] == {"layers": stored["plan"]}


def test_a_result_of_python_has_the_same_values(place, applied, packed):
    study = Study(place / "done")
    origin = recorded_task(study, trusted=False) | {"root": str(place.parent / "source")}
    result = apply(study, build_task(origin), progress=False).to_dict()
    found = values(place, "apply", "study=done", "--json")
    assert result["artifact"] == str(packed)
    assert all(found[key] == result[key] for key in result.keys() - {"artifact"})


def test_evaluate(place, packed):
    artifact = str(packed.relative_to(place))
    found = values(place, "evaluate", f"artifact={artifact}", "--json", "split=valid")
    assert found.keys() == EVALUATE
    stored = json.loads((packed.parent / "result.json").read_text())["valid"]
    assert found["score"] == stored
    assert (found["artifact"], found["split"], found["file"]) == (artifact, "valid", None)


def test_export(place, packed):
    arguments = [f"artifact={packed.relative_to(place)}", "format=c", "output=as_json"]
    found = values(place, "export", *arguments, "split=none", "--json")
    assert found.keys() == EXPORT
    assert {Path(each["path"]).name for each in found["files"]} == {"model.c", "model.h"}
    assert all(each["bytes"] == (place / each["path"]).stat().st_size for each in found["files"])
    assert found["packed_bytes"] == packed.stat().st_size


def test_solve(place, searched):
    found = values(place, "solve", "study=done", "budget=9x", "output=solved.yaml", "--json")
    assert found.keys() == SOLVE
    assert Plan.from_yaml(json.dumps(found["plan"])) == Plan.read(place / "solved.yaml")
    assert found["budget_bytes"] > found["largest_bytes"] >= found["size_bytes"]
    assert found["next"] == "autoquant apply study=done plan=solved.yaml"


def test_profile_and_report(place, searched):
    found = values(place, "profile", *TASK, "rules.decoder.weight_bits=8", "--json")
    assert found.keys() == PROFILE
    assert {"embedding", "rnn.l0", "decoder"} == {each["name"] for each in found["layers"]}
    rule = {"layer": "decoder", "setting": "weight_bits", "choices": [8], "pattern": "decoder"}
    assert found["rules"] == [rule]
    figures = [Path("done/a.png"), Path("done/report.html")]
    with mock.patch("autoquant.commands.report.report", return_value=figures):
        found = values(place, "report", "study=done", "--json")
    assert found == {"study": "done", "page": "done/report.html", "figures": ["done/a.png"]}


def test_a_sweep_in_which_nothing_fits_has_a_result_and_an_error(place):
    sweep = [*TASK, "device=cpu", "baseline.steps=4", "baseline.scores=1", "final.steps=3"]
    ran = run(place, "sweep", *sweep, "study=none fits", "sweep.budgets=[0.01x]", "--json")
    found = json.loads(ran.out)
    assert ran.code == found["exit_code"] == 1
    assert found["error"] == "no run was trained to its end"
    assert found.keys() == SWEEP | {"error", "exit_code"}
    assert [each.keys() for each in found["results"]] == [SWEEP_RUN]
    assert (found["best"], found["results"][0]["state"]) == (None, "too large")
    assert found["table"] == "none fits/runs.csv"


def test_several_runs_are_one_object(place, searched):
    ran = run(place, "solve", "-m", "study=done", "budget=0.01x,1x", "--json")
    first, second = json.loads(ran.out)["runs"]
    assert ran.code == 2
    assert first["settings"] == {"budget": "0.01x"}
    assert (first["exit_code"], first["error"][:23]) == (2, "budget must be at least")
    assert second.keys() == {"settings", "result"}
    assert second["result"].keys() == SOLVE
    heading = [line for line in ran.err.splitlines() if line.startswith("run ")]
    assert heading == ["run 1 of 2: budget=0.01x", "run 2 of 2: budget=1x"]
    assert ran.err.endswith("\n2 of 2 runs, 1 failed: run 1 (budget=0.01x)\n")


@pytest.mark.parametrize("arguments", [["serach"], ["solve", "study=nowhere", "budget=1x"]])
def test_an_error_is_an_object_too(place, arguments):
    ran = run(place, *arguments, "--json")
    found = json.loads(ran.out)
    assert found == {"error": ran.err.strip().removeprefix("autoquant: "), "exit_code": ran.code}
    assert ran.code == 2


def test_a_stopped_command_says_so(place, searched, monkeypatch):
    stop = mock.Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("autoquant.commands.solve.solve", stop)
    ran = run(place, "solve", "study=done", "budget=1x", "--json")
    line = "stopped; the same command starts anew"
    assert (ran.code, ran.err) == (130, f"\n{line}\n")
    assert json.loads(ran.out) == {"error": line, "exit_code": 130}


def test_help_and_version(place):
    assert values(place, "help", "--json")["commands"]["report"].startswith("Write")
    assert values(place, "--version", "--json").keys() == {"version"}
    assert values(place, "solve", "--help", "--json").keys() == {"command", "summary"}


def test_nothing_that_libraries_print_gets_to_the_output(place, searched, tmp_path):
    """Neither from Python, nor from C, nor from a child process."""
    lines = ["import ctypes, os, sys", "print('a'); sys.__stdout__.write('b')"]
    lines += ["ctypes.CDLL(None).printf(b'c')", "os.write(1, b'd'); os.system('echo e')"]
    (tmp_path / "noisy.py").write_text("\n".join(lines))
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    ran = subprocess.run(
        [sys.executable, "-m", "autoquant", "solve", "study=done", "budget=1x", "--json"],
        cwd=place,
        env={**os.environ, "AUTOQUANT_PLUGINS": "noisy", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert json.loads(ran.stdout).keys() == SOLVE
    assert {*"abcde"} <= {*ran.stderr}
