"""Commands as a user types them, from a search to the score of the packed file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from unittest import mock

import pytest

from autoquant.study.folder import Study
from autoquant.training import candidate
from tests.cli.typed import RULES, TASK, TINY, refused, run

ORDERS = ("", ", data order 1", ", data order 2")
"""Ends of the names of one plan's trainings."""


def test_search_finds_a_plan_within_the_budget(place, searched):
    assert searched.code == 0
    study = Study(place / "done")
    (limit,) = re.findall(r"budget (\d+) bytes", searched.out)
    best = json.loads((study.path / "baseline.json").read_text())
    assert int(limit) == best["size_bytes"] // 2
    assert {outcome.trial for outcome in study.outcomes()} == {"w4", "0"}
    assert all(outcome.size_bytes <= int(limit) for outcome in study.outcomes())
    assert study.plan() in [outcome.plan for outcome in study.outcomes()]
    assert "next: autoquant apply study=done\n" in searched.out
    assert (study.figures / "pareto.png").is_file()
    assert not list(study.path.rglob("*.tmp"))
    assert len(list(study.path.rglob("*.checkpoint"))) == 1  # the finalist's, for `apply`


def test_rules_hold_for_references_and_proposals(place, ruled):
    assert ruled.code == 0, ruled.err
    study = Study(place / "ruled")
    assert study.config()["rules"] == {
        "rnn.*": {"recurrent_bits": [3, 5], "width": [1.0]},
        "decoder": {"weight_bits": [8]},
    }
    plans = [outcome.plan for outcome in study.outcomes()]
    assert {plan["decoder"].weight_bits for plan in plans} == {8}
    assert {plan["rnn.l0"].recurrent_bits for plan in plans} <= {3, 5}
    assert {plan["rnn.l0"].width for plan in plans} == {1.0}


def test_commands_name_the_one_that_shows_their_logs(place, ruled):
    pytest.importorskip("tensorboard")
    line = "logs: tensorboard --logdir ruled/tensorboard\n"
    assert ruled.out.endswith(line)
    runs = sorted(path.name for path in Study(place / "ruled").tensorboard.iterdir())
    trained = [f"trial {name}{order}" for name in ("0", "w4") for order in ORDERS]
    assert runs == ["float baseline", *sorted(trained), "trials"]
    command = ["apply", "study=ruled", "trial=w4", "steps=0"]
    assert line not in run(place, *command, "tensorboard=false").out
    assert run(place, *command).out.endswith(line)  # as the study's settings say


def test_three_levels_from_search_to_score(place):
    """As a reference, as a choice and in a rule; with step sizes and biases of 8 bits."""
    choices = ["space.weight_bits=[1.6,4]", "references=[1.6]", "rules.rnn.*.recurrent_bits=1.6"]
    quantizer = ["quantizer.scale_bits=8", "quantizer.bias_bits=8", "quantizer.norms=half"]
    ran = run(place, "search", *TINY, "study=ternary", *choices, *quantizer)
    assert ran.code == 0, ran.err
    study = Study(place / "ternary")
    assert study.config()["space"]["weight_bits"] == [1.6, 4]
    assert [o.trial for o in study.outcomes()] == ["w1.6", "0"]
    assert "recurrent_bits: 1.6, " in study.plan_file.read_text()
    applied = run(place, "apply", "study=ternary", "trial=w1.6")
    assert applied.code == 0, applied.err
    (file,) = study.path.glob("applied/*w1.6*/model.safetensors")
    assert file.stat().st_size == study.outcomes()[0].size_bytes
    scored = run(place, "evaluate", f"artifact={file.relative_to(place)}")
    assert scored.code == 0, scored.err


def test_profile_shows_rules(place):
    ran = run(place, "profile", *TASK, *RULES, "rules.embedding.width=[1.0,2.0]")
    rows = [re.split(r"  +", line.strip()) for line in ran.out.splitlines()]
    verdicts = {row[0]: row[3:] for row in rows if row[3:4] in (["stays"], ["may grow"])}
    assert verdicts["rnn.l0"] == ["stays", "rules.rnn.*.width"]
    assert verdicts["embedding"] == ["may grow", "rules.embedding.width"]
    assert ["rnn.l0", "recurrent_bits", "3, 5", "rules.rnn.*"] in rows
    assert ["decoder", "weight_bits", "8", "rules.decoder"] in rows


def test_apply_writes_a_file_of_the_promised_size(place, applied, packed):
    assert applied.code == 0
    study = Study(place / "done")
    (promised,) = {o.size_bytes for o in study.outcomes() if o.plan == study.plan()}
    assert packed.stat().st_size == promised
    assert f"the file has {promised} bytes" in applied.out
    assert "applied: trial " in (place / "done/report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in packed.parent.iterdir()) == [
        "assets",
        "model.safetensors",
        "plan.yaml",
        "result.json",
    ]


@pytest.mark.parametrize("split", ["test", "valid"])
def test_evaluate_prints_the_score_that_apply_stored(place, packed, split):
    stored = json.loads((packed.parent / "result.json").read_text())[split]
    with_split = [] if split == "test" else [f"split={split}"]
    ran = run(place, "evaluate", f"artifact={packed.relative_to(place)}", *with_split)
    size = packed.stat().st_size
    assert ran == (0, f"perplexity {stored:.4f} on the {split} split, {size} bytes\n", "")


def test_export_prints_both_scores(place, packed):
    arguments = [f"artifact={packed.relative_to(place)}", "format=c", "output=exported"]
    ran = run(place, "export", *arguments, "split=valid")
    assert "perplexity in the target" in ran.out
    assert {path.name for path in (place / "exported").iterdir()} == {"model.c", "model.h"}
    assert "format must be one of" in refused(run(place, "export", *arguments[::2], "format=onx"))


def test_evaluate_outside_the_study_takes_the_task_that_is_given(place, packed, tmp_path):
    shutil.copy(packed, tmp_path / "model.safetensors")
    artifact = f"artifact={tmp_path / 'model.safetensors'}"
    assert "task must be given for a file outside" in refused(run(place, "evaluate", artifact))
    ran = run(place, "evaluate", artifact, "task=stdlib", *TASK)
    stored = json.loads((packed.parent / "result.json").read_text())["test"]
    assert ran.out.startswith(f"perplexity {stored:.4f} on the test split")


def test_evaluate_scores_a_text_without_the_training_data(place, packed):
    """The folder that the task names is gone; the vocabulary is that beside the packed file."""
    source, mine = place.parent / "source", place / "mine, own.py"
    mine.write_text((source / "m03.py").read_text())
    source.rename(place.parent / "gone")
    try:
        ran = run(place, "evaluate", f"artifact={packed.relative_to(place)}", f"file={mine.name}")
        assert "must be in a folder" in refused(
            run(place, "evaluate", f"artifact={packed.relative_to(place)}")
        )
    finally:
        (place.parent / "gone").rename(source)
        mine.unlink()
    assert ran.code == 0, ran.err
    assert re.fullmatch(r"perplexity \d+\.\d{4} on 'mine, own\.py', \d+ bytes\n", ran.out)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("no.txt", "file must be an existing file, got 'no.txt'"),
        ("../source", "file must be an existing file, got '../source'"),
        ("../empty/ptb.test.txt", "ptb.test.txt' must have at least 2 words, got 0"),
    ],
    ids=["missing", "folder", "empty"],
)
def test_files_that_evaluate_refuses(place, packed, file, line):
    artifact = f"artifact={packed.relative_to(place)}"
    assert line in refused(run(place, "evaluate", artifact, f"file={file}"))


@pytest.mark.draws
def test_report_redraws_the_figures(place, searched):
    before = (place / "done/figures/pareto.svg").read_bytes()
    (place / "done/figures/pareto.svg").unlink()
    ran = run(place, "report", "study=done")
    assert ran.code == 0
    assert "done/figures/pareto.svg" in ran.out.splitlines()
    assert (place / "done/figures/pareto.svg").read_bytes() == before
    assert "done/report.html" in ran.out.splitlines()


@pytest.mark.draws
def test_report_draws_for_a_paper(place, searched):
    ran = run(place, "report", "study=done", "format=pdf", "width=column")
    assert (ran.code, ran.err) == (0, "")
    *written, page = [place / line for line in ran.out.splitlines()]
    assert page == place / "done/report.html"
    assert {path.suffix for path in written} == {".pdf"}
    assert "pareto" in {path.stem for path in written}
    for path in written:
        path.unlink()


def test_a_second_apply_does_not_train_again(place, applied, monkeypatch):
    monkeypatch.setattr(candidate, "train", None)
    assert run(place, "apply", "study=done") == (0, applied.out, "")
    assert run(place, "apply", "study=done", "steps=3") == (0, applied.out, "")


def test_apply_a_trial(place, searched):
    ran = run(place, "apply", "study=done", "trial=w4")
    assert ran.code == 0
    file = place / "done/applied/trial-w4/model.safetensors"
    (outcome,) = (o for o in Study(place / "done").outcomes() if o.trial == "w4")
    assert file.stat().st_size == outcome.size_bytes
    assert f"next: autoquant evaluate artifact={file.relative_to(place)}\n" in ran.out


def test_apply_an_edited_plan(place, searched):
    plan = Study(place / "done").plan().with_choice("decoder", weight_bits=3)
    (place / "edited plan.yaml").write_text(plan.to_yaml())
    ran = run(place, "apply", "study=done", "plan=edited plan.yaml", "steps=2")
    assert ran.code == 0
    (artifact,) = re.findall(r"packed file: (.*)", ran.out)
    (size,) = re.findall(r"the file has (\d+) bytes", ran.out)
    assert (place / artifact).stat().st_size == int(size)
    assert (place / artifact).with_name("plan.yaml").read_text() == plan.to_yaml()


def test_a_study_goes_on_to_more_trials(place, searched, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    shutil.copytree(place / "done", place / "longer study")
    before = Study(place / "done").outcomes()
    ran = run(place, "search", *TINY, "study=longer study", "trials=2")
    assert Study(place / "longer study").outcomes()[: len(before)] == before
    assert len(Study(place / "longer study").outcomes()) == len(before) + 1
    assert "next: autoquant apply 'study=longer study'\n" in ran.out


def test_profile(place):
    ran = run(place, "profile", *TASK)
    assert ran.code == 0
    assert all(name in ran.out for name in ("embedding", "rnn.l0", "decoder", "may grow"))


@pytest.mark.parametrize("name", ["ünï code", "a=b,c", "quote's"])
def test_a_study_may_have_any_name(place, name):
    ran = run(place, "search", *TINY, "budget=0.01x", f"study={name}")
    assert refused(ran).startswith("budget must be at least")
    missing = run(place, "apply", f"study={name}")
    assert refused(missing) == f"study must be a folder of a search or a sweep, got '{name}'"


def test_several_budgets(place, monkeypatch):
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    sizes = ["budget=0.4x,0.5x", "study=many/${budget}", "references=[]"]
    assert run(place, "search", "-m", *TINY, *sizes).code == 0
    assert sorted(path.name for path in (place / "many").iterdir()) == ["0.4x", "0.5x"]
    assert not (place / "multirun.yaml").exists()
    assert not (place / "outputs").exists()


def test_of_several_runs_each_error_is_told_and_a_stop_stops_all(place, monkeypatch):
    several = ["-m", *TINY, "study=several/${budget}"]
    ran = run(place, "search", *several, "budget=0.01x,0.02x")
    assert ran.code == 2
    first, second = ran.err.splitlines()
    assert re.search(r"got 0\.01x = \d+ bytes$", first)
    assert re.search(r"got 0\.02x = \d+ bytes$", second)
    stop = mock.Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr("autoquant.commands.search.search", stop)
    assert run(place, "search", *several, "budget=0.4x,0.5x").code == 130
    assert stop.call_count == 1
    assert not (place / "several").exists()


def test_a_reader_that_has_seen_enough_is_no_error(place):
    code = "from autoquant.cli.main import main; main()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, "profile", *TASK],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.close()
    assert writer.communicate()[1] == b""
    assert writer.returncode == 0
