"""Commands as a user types them, most of them within this process; errors as a user sees them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

import autoquant
from autoquant import candidate, cli
from autoquant.cells import Table
from autoquant.study import Study

ROOT = Path(__file__).parents[1]
SIZES = ["tokens=3000", "vocabulary=60", "embedding=16", "hidden=16", "batch_size=8", "length=10"]
TASK = ["task.root=../source", "task.probe_tokens=100", *(f"task.{each}" for each in SIZES)]
RUN = ["budget=0.5x", "device=cpu", "references=[4]", "trials=1"]
BASELINE = ["baseline.steps=4", "baseline.scores=1"]
SHORT = ["qat.steps=2", "qat.scores=0", "final.steps=3", "final.scores=0"]
TINY = [*TASK, *RUN, *BASELINE, *SHORT]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def run(folder: Path, *arguments: str) -> Ran:
    """A command in a folder; nothing of this process is changed by it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", list(sys.argv)),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ),
    ):
        try:
            cli.main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def refused(ran: Ran, code: int = 2) -> str:
    """The one line of an error, and nothing else."""
    assert (ran.code, ran.out) == (code, "")
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("autoquant: ")
    return lines[0].removeprefix("autoquant: ")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path in a folder; of files their bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder beside a little source code to learn from."""
    parent = tmp_path_factory.mktemp("cli")
    source, choice = parent / "source", random.Random(0).choice
    source.mkdir()
    for number in range(12):
        lines = [
            f"x{choice('abcdef')} = y{choice('abcdef')} + z{choice('abcdef')}" for _ in range(99)
        ]
        (source / f"m{number:02d}.py").write_text("\n".join(lines))
    for name, text in {"empty": "", "short": "one line\n"}.items():
        (parent / name).mkdir()
        for split in ("train", "valid", "test"):
            (parent / name / f"ptb.{split}.txt").write_text(text)
    folder = parent / "here"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def searched(place) -> Ran:
    return run(place, "search", *TINY, "study=done")


@pytest.fixture(scope="module")
def applied(place, searched) -> Ran:
    return run(place, "apply", "study=done")


@pytest.fixture(scope="module")
def packed(place, applied) -> Path:
    (file,) = place.glob("done/applied/plan-*/model.safetensors")
    return file


@pytest.fixture
def unchanged(place) -> Iterator[None]:
    before = contents(place)
    yield
    after = contents(place)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == []


# --- the whole way -------------------------------------------------------------------------------


def test_search_finds_a_plan_within_the_budget(place, searched):
    assert searched.code == 0
    study = Study(place / "done")
    (limit,) = re.findall(r"budget (\d+) bytes", searched.out)
    best = json.loads((study.path / "baseline.json").read_text())
    assert int(limit) == best["size_bytes"] // 2
    assert {outcome.trial for outcome in study.outcomes()} == {"w4", "0"}
    assert all(outcome.size_bytes <= int(limit) for outcome in study.outcomes())
    assert study.plan() in [outcome.plan for outcome in study.outcomes()]
    assert "next:        autoquant apply study=done\n" in searched.out
    assert (study.figures / "pareto.png").is_file()
    assert not list(study.path.rglob("*.tmp")) + list(study.path.rglob("*.checkpoint"))


RULES = ['rules={"rnn.*": {recurrent_bits: [3, 5], width: 1.0}}', "rules.decoder.weight_bits=8"]


@pytest.fixture(scope="module")
def ruled(place) -> Ran:
    return run(place, "search", *TINY, "study=ruled", "budget=0.6x", *RULES)


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


def test_three_levels_from_search_to_score(place):
    """As a reference, as a choice and in a rule; with step sizes and biases of 8 bits."""
    choices = ["space.weight_bits=[1.6,4]", "references=[1.6]", "rules.rnn.*.recurrent_bits=1.6"]
    quantizer = ["quantizer.scale_bits=8", "quantizer.bias_bits=8"]
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
    assert "stays: rules.rnn.*.width\n  recurrent_bits: 3, 5 (rules.rnn.*)\n" in ran.out
    assert "may grow: rules.embedding.width\n" in ran.out
    assert "  weight_bits: 8 (rules.decoder)\n" in ran.out


def test_apply_writes_a_file_of_the_promised_size(place, applied, packed):
    assert applied.code == 0
    study = Study(place / "done")
    (promised,) = {o.size_bytes for o in study.outcomes() if o.plan == study.plan()}
    assert packed.stat().st_size == promised
    assert f"the file has {promised} bytes" in applied.out
    assert sorted(path.name for path in packed.parent.iterdir()) == [
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


def test_evaluate_outside_the_study_takes_the_task_that_is_given(place, packed, tmp_path):
    shutil.copy(packed, tmp_path / "model.safetensors")
    artifact = f"artifact={tmp_path / 'model.safetensors'}"
    assert "task must be given for a file outside" in refused(run(place, "evaluate", artifact))
    ran = run(place, "evaluate", artifact, "task=stdlib", *TASK)
    stored = json.loads((packed.parent / "result.json").read_text())["test"]
    assert ran.out.startswith(f"perplexity {stored:.4f} on the test split")


def test_report_redraws_the_figures(place, searched):
    before = (place / "done/figures/pareto.svg").read_bytes()
    (place / "done/figures/pareto.svg").unlink()
    ran = run(place, "report", "study=done")
    assert ran.code == 0
    assert "done/figures/pareto.svg" in ran.out.splitlines()
    assert (place / "done/figures/pareto.svg").read_bytes() == before


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
    assert f"next:        autoquant evaluate artifact={file.relative_to(place)}\n" in ran.out


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
    monkeypatch.setattr("autoquant.reporter.report", lambda study: [])
    shutil.copytree(place / "done", place / "longer study")
    before = Study(place / "done").outcomes()
    ran = run(place, "search", *TINY, "study=longer study", "trials=2")
    assert Study(place / "longer study").outcomes()[: len(before)] == before
    assert len(Study(place / "longer study").outcomes()) == len(before) + 1
    assert "next:        autoquant apply 'study=longer study'\n" in ran.out


def test_profile(place):
    ran = run(place, "profile", *TASK)
    assert ran.code == 0
    assert all(name in ran.out for name in ("embedding", "rnn.l0", "decoder", "may grow"))


@pytest.mark.parametrize("name", ["ünï code", "a=b,c", "quote's"])
def test_a_study_may_have_any_name(place, name):
    ran = run(place, "search", *TINY, "budget=0.01x", f"study={name}")
    assert refused(ran).startswith("budget must be at least")
    missing = run(place, "apply", f"study={name}")
    assert refused(missing) == f"study must be a folder that a search made, got '{name}'"


def test_several_budgets(place, monkeypatch):
    monkeypatch.setattr("autoquant.reporter.report", lambda study: [])
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
    monkeypatch.setattr("autoquant.searcher.search", stop)
    assert run(place, "search", *several, "budget=0.4x,0.5x").code == 130
    assert stop.call_count == 1
    assert not (place / "several").exists()


def test_a_reader_that_has_seen_enough_is_no_error(place):
    code = "from autoquant.cli import main; main()"
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


MODULE = """
import torch
from autoquant import Example

class Mine:
    name, metric, direction = "mine", "mse", "minimize"
    def __init__(self, hidden):
        self.hidden = hidden
        self.inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        self.targets = self.inputs[:, :2].abs()
    def build_model(self):
        layer = torch.nn.Linear
        return torch.nn.Sequential(layer(4, self.hidden), torch.nn.ReLU(), layer(self.hidden, 2))
    def steps_per_epoch(self):
        return 4
    def batches(self, seed, start=0):
        while True:
            yield self.inputs, self.targets
    def loss(self, model, batch, carry):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1]), None
    def score(self, model, split):
        return float(self.loss(model, (self.inputs, self.targets), None)[0])
    def example(self):
        return Example((self.inputs,), 64)
"""


def test_a_task_of_ones_own(tmp_path):
    (tmp_path / "mine_in_a_test.py").write_text(MODULE)
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text(
        "# @package _global_\n"
        "task: {_target_: mine_in_a_test.Mine, hidden: 24}\n"
        "widening: {max_share: 0.9, max_growth: 2}\n"
    )
    own = ["--config-dir", "conf", "task=mine"]
    ran = run(tmp_path, "search", *own, *RUN, *BASELINE, *SHORT, "budget=3x")
    assert ran.code == 0, ran.err
    assert run(tmp_path, "apply", "study=runs/mine-3x").code == 0
    (file,) = tmp_path.glob("runs/*/applied/*/model.safetensors")
    stored = json.loads((file.parent / "result.json").read_text())["test"]
    ran = run(tmp_path, "evaluate", f"artifact={file}")
    assert ran.out.startswith(f"mse {stored:.4f} on the test split")
    with_typo = run(tmp_path, "profile", "--config-dir", "conf", "task=mime")
    assert refused(with_typo) == "task must be one of digits, mine, ptb, stdlib, got 'mime'"


PIECES = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, hidden):
        super().__init__(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 3))

def split(seed, count=64):
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)
"""

CONFIG = """
# @package _global_
task:
  _target_: autoquant.tasks.supervised.SupervisedTask
  model: {_target_: pieces_in_a_test.Net, _partial_: true, hidden: 32}
  train: {_target_: pieces_in_a_test.split, seed: 0}
  valid: {_target_: pieces_in_a_test.split, seed: 1}
  test: {_target_: pieces_in_a_test.split, seed: 2}
  loss: torch.nn.functional.cross_entropy
  score: accuracy
  batch_size: 16
rules:
  "0": {weight_bits: [4, 8], width: 1.0}
"""


def test_a_task_of_plain_pieces(tmp_path):
    """Model, data, loss and score from a folder of one's own; nothing of autoquant's to write."""
    (tmp_path / "pieces_in_a_test.py").write_text(PIECES)
    (tmp_path / "mine/task").mkdir(parents=True)
    (tmp_path / "mine/task/mine.yaml").write_text(CONFIG.lstrip())
    own = ["--config-dir", "mine", "task=mine", "task.model.hidden=24"]
    ran = run(tmp_path, "search", *own, *RUN, *BASELINE, *SHORT, "budget=4x", "study=done")
    assert ran.code == 0, ran.err
    assert {o.plan["0"].weight_bits for o in Study(tmp_path / "done").outcomes()} <= {4, 8}
    assert run(tmp_path, "apply", "study=done").code == 0
    (file,) = tmp_path.glob("done/applied/*/model.safetensors")
    stored = json.loads((file.parent / "result.json").read_text())["test"]
    ran = run(tmp_path, "evaluate", f"artifact={file}")
    assert ran.out.startswith(f"accuracy {stored:.4f} on the test split")


def test_the_digits():
    pytest.importorskip("sklearn")
    sizes = ["task.hidden=24", "task.head=16", "study=done", "budget=0.5x"]
    with tempfile.TemporaryDirectory() as folder:
        ran = run(Path(folder), "search", "task=digits", *sizes, *RUN[1:], *BASELINE, *SHORT)
    assert ran.code == 0, ran.err
    assert "best plan" in ran.out


# --- sweeps --------------------------------------------------------------------------------------

SWEEP = [*TASK, "device=cpu", *BASELINE, "final.steps=3", "sweep.weight_bits=[4,2]"]


@pytest.fixture(scope="module")
def swept(place) -> Ran:
    return run(place, "sweep", *SWEEP, "study=swept")


def test_a_sweep_writes_a_table_and_figures(place, swept):
    assert swept.code == 0, swept.err
    results = Table.of(Study(place / "swept")).results()
    assert [each.cell.name for each in results] == ["w4-a8-x1-seed0", "w2-a8-x1-seed0"]
    for each in results:
        line = [line for line in swept.out.splitlines() if each.cell.name in line][-1]
        assert line.split()[1:] == [
            str(each.size_bytes),
            f"{each.size_share:.4f}x",
            f"{each.valid:.5g}",
            f"{each.test:.5g}",
            "complete",
        ]
    for name in ("grid", "curves", "profile"):
        assert (place / f"swept/figures/{name}.png").is_file()
    assert "figure:  swept/figures/grid.png\n" in swept.out


def test_a_sweep_goes_on_and_may_grow(place, swept, monkeypatch):
    shutil.copytree(place / "swept", place / "swept on")
    monkeypatch.setattr("autoquant.reporter.report", lambda study: [])
    calls: list[str] = []
    real = candidate.train

    def train(*arguments, **options):
        calls.append(options["label"])
        return real(*arguments, **options)

    monkeypatch.setattr(candidate, "train", train)
    ran = run(place, "sweep", *SWEEP, "study=swept on", "sweep.seeds=[0,1]", "budget=9x")
    assert ran.code == 0, ran.err
    assert calls == ["w4-a8-x1-seed1", "w2-a8-x1-seed1"]


def test_report_redraws_a_sweep(place, swept):
    file = place / "swept/figures/curves.svg"
    before = file.read_bytes()
    file.unlink()
    ran = run(place, "report", "study=swept")
    assert "swept/figures/curves.svg" in ran.out.splitlines()
    assert file.read_bytes() == before


def test_a_plan_is_applied_in_the_folder_of_a_sweep(place, swept, tmp_path):
    result = Table.of(Study(place / "swept")).results()[0]
    (tmp_path / "plan.yaml").write_text(result.cell.plan.to_yaml())
    ran = run(place, "apply", "study=swept", f"plan={tmp_path}/plan.yaml")
    assert ran.code == 0, ran.err
    (file,) = place.glob("swept/applied/*/model.safetensors")
    assert file.stat().st_size == result.size_bytes
    ran = run(place, "evaluate", f"artifact={file}")
    assert ran.out.startswith(f"perplexity {result.test:.4f} on the test split")


def test_a_sweep_in_which_nothing_fits(place):
    ran = run(place, "sweep", *SWEEP, "study=too large", "sweep.budgets=[0.01x]")
    assert ran.code == 1
    assert "0.01x-a8-x1-seed0" in ran.out
    assert ran.err.endswith("autoquant: no cell was trained to its end\n")


SWEEPS = {
    "sweep.nothing=3": "got 'sweep.nothing' (near: sweep.",
    "sweep=4": "sweep must be a section of settings, as in baseline.steps=100, got '4'",
    "sweep.weight_bits=4": "sweep.weight_bits must be a list, as in [2,4]",
    "sweep.weight_bits=[9]": "sweep: weight_bits must be one of 1, 1.6, 2, 3",
    "sweep.weight_bits=[]": "sweep must have a grid or plans",
    "sweep.activation_bits=[1.6]": "sweep.activation_bits[0] must be a whole number, got '1.6'",
    "sweep.width=[0.5]": "sweep: width must be in [1, 16], got 0.5",
    "sweep.width=[1.5]": "sweep.width must be [1.0] for a model of which no layer may grow",
    "sweep.budgets=[small]": "budget must look like 0.15x, 2.5MB, 1.5MiB or 4.5bpw, got 'small'",
    "sweep.seeds=[a]": "sweep.seeds[0] must be a whole number, got 'a'",
    "sweep.seeds=[]": "sweep.seeds must be whole numbers, got []",
    "sweep.start=middle": "sweep.start must be baseline or scratch, got 'middle'",
    "sweep.test=maybe": "sweep.test must be true or false, got 'maybe'",
    "sweep.plans=[no.yaml]": "plan must be an existing YAML file, got 'no.yaml'",
    "study=swept": "study 'swept' was made with final.steps=3, got final.steps=9",
    "study=done": "study 'done' was made by a search, got a sweep; take another study folder",
    "device=tpu": "device must be one that torch has here (auto, cpu",
}


@pytest.mark.usefixtures("searched", "swept", "unchanged")
@pytest.mark.parametrize("written", SWEEPS)
def test_sweep_refuses(place, written, monkeypatch):
    monkeypatch.setattr("autoquant.baseline.train", None)
    own = {"study=swept": "final.steps=9", "sweep.width=[1.5]": "widening.max_share=0"}
    more = [own[written]] if written in own else []
    study = [] if "study=" in written else ["study=new"]
    ran = run(place, "sweep", *SWEEP, *study, *more, written)
    assert SWEEPS[written] in refused(ran)


@pytest.mark.usefixtures("unchanged")
def test_the_folder_of_a_sweep_is_not_one_of_a_search(place, swept):
    line = refused(run(place, "search", *TINY, "study=swept"))
    assert line == "study 'swept' was made by a sweep, got a search; take another study folder"


# --- bad input: one line, code 2, nothing written ------------------------------------------------

SEARCHES = {
    "budgett=0.2x": "a setting must be one that --help lists, got 'budgett' (near: budget)",
    "qat.step=3": "got 'qat.step' (near: qat.steps, ",
    "task.hiden=3": "got 'task.hiden' (near: task.hidden, ",
    "+nothing=3": "got 'nothing'",
    "hello": "a setting must look like key=value",
    "a=b=c": "got 'a=b=c'",
    "trials=many": "trials must be a whole number, got 'many'",
    "seed=1.5": "seed must be a whole number, got '1.5'",
    "baseline.lr=fast": "baseline.lr must be a number, got 'fast'",
    "fill=maybe": "fill must be true or false, got 'maybe'",
    "references=4": "references must be a list, as in [2,4]",
    "space=4": "space must be a section of settings, as in baseline.steps=100, got '4'",
    "study=null": "study must be given, not null",
    "rules=5": "rules must be a mapping, as in {decoder: {weight_bits: [4,8]}}, got 'int'",
    "rules={dekoder: {width: 1}}": "layers of the model, got 'dekoder' (near: decoder)",
    "rules.rnn.*.bits=4": "rules.rnn.* must have keys among weight_bits, ",
    "rules.decoder.weight_bits=9": "rules.decoder: weight_bits must be one of 1, 1.6, 2, ",
    "space.weight_bits=[1.5]": "space: weight_bits must be one of 1, 1.6, 2, ",
    "space.weight_bits=[many]": " must be a number, got 'many'",
    "space.weight_bits=[null]": "space.weight_bits[0] must be a number, got 'None'",
    "space.activation_bits=[1.6]": " must be a whole number, got '1.6'",
    "rules.decoder.width=[1.0,1.5]": "must be 1.0 for decoder (feeds the model's output)",
    "qat.autocast=float8": "autocast must be none, bfloat16 or float16, got 'float8'",
    "qat.autocast=float16": "autocast=float16 must have a CUDA device",
    "quantizer=foo": "quantizer must be one of bit_rnn, lsq, got 'foo'",
    "budget=0.3x,0.4x": "several values need -m",
    "trials=0": "trials must be at least 1, got 0",
    "seed=99999999999": "seed must be below 2**32",
    "qat.lr=inf": "lr must be above 0, got inf",
    "budget=small": "budget must look like 0.15x, 2.5MB, 1.5MiB or 4.5bpw, got 'small'",
    "budget=": "budget must look like",
    "budget=1 x y": "budget must look like",
    "budget=-1x": "budget must look like",
    "budget=0x": "budget must be above 0, got '0x'",
    "device=tpu": "device must be one that torch has here (auto, cpu",
    "task.hidden=abc": "hidden must be a whole number from 1 up, got 'abc'",
    "task.dropout=2": "dropout must be in [0, 1), got 2",
    "task.tokens=abc": "the task could not be built: ",
    "task.root=nowhere": "must be in a folder, got 'nowhere'",
    "task._target_=foo.bar": "the task could not be built: No module named 'foo'",
    "study=../source": "study must be a new folder or a study, got '../source'",
    "study=../source/m00.py": "study must be a new folder or a study",
    "--resolve": "--resolve",
    "--config-dir=nowhere": "not found",
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("written", SEARCHES)
def test_search_refuses(place, written, monkeypatch):
    monkeypatch.setattr("autoquant.baseline.train", None)
    study = [] if "study=" in written else ["study=new"]
    assert SEARCHES[written] in refused(run(place, "search", *TINY, *study, written))


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["task=stdlb"], "task must be one of digits, ptb, stdlib, got 'stdlb'"),
        (["task=null"], "Config group override must be a string or a list"),
        (["task=ptb"], "task.data_dir must be given, as in task.data_dir=..."),
        (["task=ptb", "task.data_dir=no"], "task.data_dir must be an existing folder, got 'no'"),
        (["task=ptb", "task.data_dir=../source"], "must have the file '../source/ptb.train.txt'"),
        (["task=ptb", "task.data_dir=../empty"], "ptb must have at least 100 tokens, got 0"),
        (["task=ptb", "task.data_dir=../short"], "ptb must have at least 100 tokens, got 3"),
    ],
)
def test_a_corpus_must_be_there(place, arguments, line):
    assert line in refused(run(place, "search", *arguments))


@pytest.mark.usefixtures("unchanged")
def test_an_unreachable_budget_names_the_smallest_size(place):
    line = refused(run(place, "search", *TINY, "study=new", "budget=0.01x"))
    found = re.match(r"budget must be at least (\d+) bytes \(0\.\d+x\), .* got 0.01x = \d+", line)
    assert found
    more = run(place, "search", *TINY, "study=new", f"budget={int(found.group(1)) - 1}B")
    assert f"at least {found.group(1)} bytes" in refused(more)


@pytest.mark.usefixtures("unchanged")
def test_a_study_of_other_settings_is_refused(place, searched):
    line = refused(run(place, "search", *TINY, "study=done", "seed=4"))
    assert line.startswith("study 'done' was made with seed=0, got seed=4; take that value")
    line = refused(run(place, "search", *TINY, "study=done", "task.hidden=17"))
    assert "was made with task.hidden=16, got task.hidden=17" in line


@pytest.mark.usefixtures("unchanged")
def test_a_study_of_other_rules_is_refused(place, ruled):
    line = refused(run(place, "search", *TINY, "study=ruled", "budget=0.6x", RULES[0]))
    assert "was made with rules.decoder.weight_bits=[8], got rules.decoder.weight_bits=None" in line
    line = refused(run(place, "search", *TINY, "study=ruled", "budget=0.6x", *RULES[::-1]))
    assert "was made with rules for rnn.*, decoder, got them in the order decoder, rnn.*" in line


@pytest.mark.usefixtures("unchanged")
def test_a_second_search_in_a_study_is_refused(place, searched):
    with Study(place / "done").locked():
        line = refused(run(place, "search", *TINY, "study=done"))
    assert line.startswith("one search at a time can run in a study, got a second in 'done'")


def edit(old: str, new: str) -> str:
    return "layers:\n  embedding: {}\n  rnn.l0: {}\n  decoder: {}\n".replace(old, new)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (edit("decoder", "dekoder"), "must name layers of the model, got 'dekoder' (near: decoder"),
        (edit("  decoder: {}\n", ""), "a plan must name every layer, missing: decoder"),
        (edit("decoder: {", "decoder: {weight_bits: 9"), "layer decoder: weight_bits must be one"),
        (edit("decoder: {", "decoder: {bits: 9"), "layer decoder: keys must be among"),
        (edit("decoder: {}", "decoder: ["), "must be valid YAML, got a syntax error at line "),
        ("", "must have a 'layers' mapping, got an empty file"),
    ],
)
def test_apply_refuses_a_plan(place, searched, tmp_path, text, line):
    (tmp_path / "plan.yaml").write_text(text)
    before = contents(place)
    assert line in refused(run(place, "apply", "study=done", f"plan={tmp_path}/plan.yaml"))
    assert contents(place) == before


@pytest.mark.usefixtures("searched", "unchanged")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["apply"], "study must be given, as in study=..."),
        (["apply", "study=."], "study must be a folder that a search made, got '.'"),
        (["report", "study=nowhere"], "study must be a folder that a search made, got 'nowhere'"),
        (["apply", "study=done", "plan=no.yaml"], "plan must be an existing YAML file"),
        (["apply", "study=done", "trial=99"], "trial must be one of the study's (w4, 0), got '99'"),
        (["apply", "study=done", "trial=0", "plan=done/plan.yaml"], "a trial or a plan, got both"),
        (["apply", "study=done", "steps=0"], "steps must be at least 1, got 0"),
        (["apply", "study=done", "stps=1"], "got 'stps' (near: steps)"),
        (["apply", "study=done", "trial=0", "device=x", "lr=1"], "that torch has here (auto, cpu"),
        (["evaluate"], "artifact must be given"),
        (["evaluate", "artifact=no"], "artifact must be an existing packed file, got 'no'"),
        (["evaluate", "artifact=done/plan.yaml", "split=train"], "split must be one of probe, "),
        (["evaluate", "artifact=done/baseline.safetensors"], "must be a file that autoquant pack"),
    ],
)
def test_commands_refuse(place, arguments, line):
    assert line in refused(run(place, *arguments))


def test_a_damaged_artifact_is_refused(place, packed):
    data = packed.read_bytes()
    copy = packed.with_name("copy.safetensors")
    middle = len(data) - 100
    damaged = {
        "copy.safetensors' must be a whole packed file": data[:middle],
        "must be as it was written, got an altered": data[:middle]
        + bytes([data[middle] ^ 1])
        + data[middle + 1 :],
        "must be a whole packed file, got: ": b"",
    }
    try:
        for line, content in damaged.items():
            copy.write_bytes(content)
            assert line in refused(run(place, "evaluate", f"artifact={copy}"))
    finally:
        copy.unlink()


@pytest.mark.usefixtures("unchanged")
def test_an_artifact_of_another_task_is_refused(place, packed):
    other = ["task=stdlib", *TASK, "task.hidden=17"]
    line = refused(run(place, "evaluate", f"artifact={packed}", *other))
    assert "is of another model" in line


@pytest.mark.parametrize(
    ("name", "text", "arguments", "line"),
    [
        ("config.yaml", "a: [", ["apply"], "must be valid YAML"),
        ("config.yaml", "a: 3", ["apply"], "must name the task of the study, got None"),
        ("outcomes.csv", "a,b\n1,2\n", ["apply", "trial=0"], "must be as a search wrote it"),
        ("baseline.json", "{", ["report"], "must be as a search wrote it"),
        ("baseline.safetensors", "x", ["apply", "trial=0", "lr=1"], "must be a safetensors file"),
    ],
)
def test_a_damaged_study_is_refused(place, searched, name, text, arguments, line):
    file = place / "done" / name
    before = file.read_bytes()
    try:
        file.write_text(text)
        assert line in refused(run(place, *arguments, "study=done"))
    finally:
        file.write_bytes(before)


def test_unknown_commands(place):
    line = refused(run(place, "serach"))
    assert line.startswith(
        "command must be one of profile, search, sweep, report, apply, evaluate, g"
    )


# --- runs that fail, runs that are stopped -------------------------------------------------------


def test_a_study_that_cannot_be_written(place, searched):
    before = contents(place)
    line = refused(run(place, "search", *TINY, "study=done/plan.yaml/inside"), 1)
    assert line == "'done/plan.yaml/inside' cannot be written: Not a directory"
    assert contents(place) == before


def test_an_applied_plan_that_cannot_be_written(place, searched, tmp_path):
    shutil.copytree(place / "done", tmp_path / "study", ignore=shutil.ignore_patterns("applied"))
    (tmp_path / "study/applied").write_text("in the way")
    line = refused(run(place, "apply", f"study={tmp_path}/study", "steps=2"), 1)
    assert "could not be written: " in line


def test_a_search_in_which_all_diverge(place, monkeypatch):
    monkeypatch.setattr("autoquant.reporter.report", lambda study: [])
    ran = run(place, "search", *TINY, "study=diverged", "qat.lr=1e30", "references=[]")
    assert ran.code == 1
    assert ran.err.endswith("autoquant: no plan within the budget was trained to its end\n")
    assert "next:" not in ran.out
    assert not (place / "diverged/plan.yaml").exists()
    assert "must have a chosen plan" in refused(run(place, "apply", "study=diverged"))


def test_an_unexpected_error_is_one_line_or_a_traceback(place, searched, monkeypatch):
    monkeypatch.setattr("autoquant.reporter.report", mock.Mock(side_effect=ZeroDivisionError("x")))
    assert refused(run(place, "report", "study=done"), 1) == "ZeroDivisionError: x"
    monkeypatch.setenv("AUTOQUANT_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run(place, "report", "study=done")


def test_a_stopped_search_goes_on(place, monkeypatch):
    monkeypatch.setattr("autoquant.reporter.report", lambda study: [])
    real, calls = candidate.train, []

    def stopped(*arguments, **options):
        calls.append(options["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(candidate, "train", stopped)
    ran = run(place, "search", *TINY, "study=stopped")
    assert ran.code == 130
    assert ran.err.endswith("stopped; the same command goes on from here\n")
    assert calls == ["trial w4", "trial 0"]
    assert not list((place / "stopped").rglob("*.tmp"))
    assert run(place, "search", *TINY, "study=stopped").code == 0
    assert calls[2:] == ["trial 1"]  # what was finished is kept
    ended = [(o.trial, o.state) for o in Study(place / "stopped").outcomes()]
    assert ended == [("w4", "complete"), ("0", "interrupted"), ("1", "complete")]


def test_an_interrupt_signal_stops_a_search(place):
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from autoquant.cli import main; main(sys.argv[1:])"
    )
    arguments = [*TINY, "study=signal", "baseline.steps=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "search", *arguments],
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (place / "signal/profile.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("\nstopped; the same command goes on from here\n")
    assert "Traceback" not in err
    left = {path.name for path in (place / "signal").iterdir()}
    assert left <= {".lock", "config.yaml", "profile.json"}


# --- help ----------------------------------------------------------------------------------------


def test_help_and_version(place):
    assert run(place, "--help") == (0, cli.HELP, "")
    assert run(place) == (2, cli.HELP, "")
    assert run(place, "--version").out.strip() == autoquant.__version__
    ran = run(place, "search", "--help")
    assert ran.code == 0
    assert "  budget " in ran.out
    assert "  baseline.steps " in ran.out


@pytest.mark.usefixtures("unchanged")
def test_cfg_prints_what_would_be_used(place):
    ran = run(place, "search", "--cfg", "job", "quantizer=bit_rnn", "trials=3")
    assert ran.code == 0
    assert "\ntrials: 3\n" in ran.out
    assert "  reparametrization: tanh\n" in ran.out
    assert "_target_: autoquant.tasks.language.stdlib\n" in ran.out


def test_help_and_mistakes_do_not_wait_for_torch():
    code = """
import sys
from autoquant.cli import main
for arguments in (["--help"], ["--version"], ["search", "--help"], ["serach"], ["search", "a=1"]):
    try:
        main(arguments)
    except SystemExit:
        pass
print([name for name in ("torch", "optuna", "matplotlib") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


# --- the wheel -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_brings_its_configuration(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("autoquant", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "autoquant/conf/task/stdlib.yaml" in names
    assert "autoquant/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "conf", "benchmarks"))]

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*install, wheel], check=True)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(packages))  # found after the wheel's own
    empty = tmp_path / "empty"
    empty.mkdir()
    code = "import autoquant; print(autoquant.__file__); from autoquant.cli import main; main()"
    command = [tmp_path / "venv/bin/python", "-c", code, "profile", *SIZES_OF_TASK]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(site))
    assert "rnn.l0" in ran.stdout
    assert not list(empty.iterdir())


SIZES_OF_TASK = [f"task.{each}" for each in SIZES]
