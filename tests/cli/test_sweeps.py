"""``autoquant sweep`` as a user types it."""

from __future__ import annotations

import shlex
import shutil

import pytest

from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable
from autoquant.training import candidate
from tests.cli.typed import BASELINE, TASK, TINY, Ran, refused, run

SWEEP = [*TASK, "device=cpu", *BASELINE, "final.steps=3", "sweep.weight_bits=[4,2]"]


@pytest.fixture(scope="module")
def swept(place) -> Ran:
    return run(place, "sweep", *SWEEP, "study=swept", "sweep.save=true")


def test_a_sweep_writes_a_table_and_figures(place, swept):
    assert swept.code == 0, swept.err
    results = SweepTable.of(Study(place / "swept")).results()
    assert [each.run.name for each in results] == ["w4-a8-x1-seed0", "w2-a8-x1-seed0"]
    for each in results:
        named = [line.split() for line in swept.out.splitlines() if each.run.name in line]
        line = next(line for line in named if len(line) == 6)
        assert line[1:] == [
            str(each.size_bytes),
            f"{each.size_share:.4f}x",
            f"{each.valid:.5g}",
            f"{each.test:.5g}",
            "complete",
        ]
    for name in ("grid", "curves", "profile"):
        assert (place / f"swept/figures/{name}.png").is_file()
    assert "figure: swept/figures/grid.png\n" in swept.out


def test_a_packed_file_of_a_run_is_evaluated(place, swept):
    """The task is that of the study it lies in."""
    for each in SweepTable.of(Study(place / "swept")).results():
        file = place / f"swept/packed/{each.run.name}.safetensors"
        scored = run(place, "evaluate", f"artifact={file}", "split=test")
        assert f"perplexity {each.test:.4f} on the test split" in scored.out, scored.err


def test_settings_of_the_stored_task_may_be_changed(place, swept):
    file = place / "swept/packed/w4-a8-x1-seed0.safetensors"
    whole = run(place, "evaluate", f"artifact={file}", "split=probe", "task.probe_tokens=200")
    other = run(place, "evaluate", f"artifact={file}", "split=probe", "task.probe_tokens=60")
    assert whole.code == other.code == 0, other.err
    assert whole.out != other.out
    line = refused(run(place, "evaluate", f"artifact={file}", "task.probe_tokns=60"))
    assert "got 'task.probe_tokns' (near: probe_tokens" in line


def test_the_next_command_packs_the_best_run(place, swept):
    """As it is printed, typed: the file scores what the table says."""
    command = shlex.split(swept.out.splitlines()[-1].removeprefix("next:"))
    assert command[:2] == ["autoquant", "apply"]
    applied = run(place, *command[1:])
    assert applied.code == 0, applied.err
    best = min(SweepTable.of(Study(place / "swept")).results(), key=lambda each: each.valid or 0)
    (file,) = (place / f"swept/applied/trial-{best.run.name}").glob("model.safetensors")
    assert file.stat().st_size == best.size_bytes
    scored = run(place, "evaluate", f"artifact={file}", "split=test")
    assert f"perplexity {best.test:.4f} on the test split" in scored.out


def test_a_sweep_goes_on_and_may_grow(place, swept, monkeypatch):
    shutil.copytree(place / "swept", place / "swept on")
    monkeypatch.setattr("autoquant.commands.report.report", lambda study: [])
    calls: list[str] = []
    real = candidate.train

    def train(*arguments, **options):
        calls.append(options["label"])
        return real(*arguments, **options)

    monkeypatch.setattr(candidate, "train", train)
    ran = run(place, "sweep", *SWEEP, "study=swept on", "sweep.seeds=[0,1]", "budget=9x")
    assert ran.code == 0, ran.err
    assert calls == ["w4-a8-x1-seed1", "w2-a8-x1-seed1"]


@pytest.mark.draws
def test_report_redraws_a_sweep(place, swept):
    file = place / "swept/figures/curves.svg"
    before = file.read_bytes()
    file.unlink()
    ran = run(place, "report", "study=swept")
    assert "swept/figures/curves.svg" in ran.out.splitlines()
    assert file.read_bytes() == before


def test_a_plan_is_applied_in_the_folder_of_a_sweep(place, swept, tmp_path):
    result = SweepTable.of(Study(place / "swept")).results()[0]
    (tmp_path / "plan.yaml").write_text(result.run.plan.to_yaml())
    ran = run(place, "apply", "study=swept", f"plan={tmp_path}/plan.yaml")
    assert ran.code == 0, ran.err
    (file,) = place.glob("swept/applied/plan-*/model.safetensors")
    assert file.stat().st_size == result.size_bytes
    ran = run(place, "evaluate", f"artifact={file}")
    assert ran.out.startswith(f"perplexity {result.test:.4f} on the test split")


def test_a_sweep_in_which_nothing_fits(place):
    ran = run(place, "sweep", *SWEEP, "study=too large", "sweep.budgets=[0.01x]")
    assert ran.code == 1
    assert "0.01x-a8-x1-seed0" in ran.out
    assert ran.err.endswith("autoquant: no run was trained to its end\n")


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
    "sweep.init_from=middle": "sweep.init_from must be baseline or scratch, got 'middle'",
    "sweep.test=maybe": "sweep.test must be true or false, got 'maybe'",
    "sweep.plans=[no.yaml]": "plan must be an existing YAML file, got 'no.yaml'",
    "study=swept": "study 'swept' was made with final.steps=3, got final.steps=9",
    "study=done": "study 'done' was made by a search, got a sweep; take another study folder",
    "device=tpu": "device must be one that torch has here (auto, cpu",
}


@pytest.mark.usefixtures("searched", "swept", "unchanged")
@pytest.mark.parametrize("written", SWEEPS)
def test_sweep_refuses(place, written, monkeypatch):
    monkeypatch.setattr("autoquant.training.baseline.train", None)
    own = {"study=swept": "final.steps=9", "sweep.width=[1.5]": "widening.max_share=0"}
    more = [own[written]] if written in own else []
    study = [] if "study=" in written else ["study=new"]
    ran = run(place, "sweep", *SWEEP, *study, *more, written)
    assert SWEEPS[written] in refused(ran)


@pytest.mark.usefixtures("unchanged")
def test_the_folder_of_a_sweep_is_not_one_of_a_search(place, swept):
    line = refused(run(place, "search", *TINY, "study=swept"))
    assert line == "study 'swept' was made by a sweep, got a search; take another study folder"
