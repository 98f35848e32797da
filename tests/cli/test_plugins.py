"""Extensions in a module of the user's, named by AUTOQUANT_PLUGINS, from a search to the score."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from autoquant.study.folder import Study
from tests.cli.test_own_tasks import MODULE
from tests.cli.typed import BASELINE, ROOT, RUN, SHORT, Ran, refused

PLUGIN = (
    MODULE.replace("class Mine", '@task("walks")\nclass Walks')
    .replace("def __init__(self, hidden)", "def __init__(self, hidden=24, sizes=(1, 2), seed=None)")
    .replace(
        "from autoquant import Example",
        "from optuna.samplers import RandomSampler\n"
        "from autoquant import Example, Search, Widening\n"
        "from autoquant.quantization.scale_rules import scale_rule\n"
        "from autoquant.samplers.registry import sampler\n"
        "from autoquant.task import task",
    )
    + """
@task("wishes", preferred=Search(
    budget="2x", widening=Widening(max_share=0.9), rules={"0": {"width": 1.0}}
))
def wishes(hidden=24):
    return Walks(hidden)

@task("with_required")
def with_required(length, options={"a": [1]}, *, device=torch.device("cpu"), **more):
    return Walks(length)

@sampler("dice")
def dice(seed):
    return RandomSampler(seed=seed)

@scale_rule("largest")
class Largest:
    def compute_scale(self, weight, grid, magnitude):
        return weight.detach().abs().amax() / max(-grid.qmin, grid.qmax)
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("plugins")
    (folder / "mymodule.py").write_text(PLUGIN)
    return folder


def typed(folder: Path, *arguments: str, plugins: str = "mymodule") -> Ran:
    """A command in a process of its own: registrations of an extension last as long as Python."""
    code = "import sys; from autoquant.cli.main import main; main(sys.argv[1:])"
    environment = os.environ | {"AUTOQUANT_PLUGINS": plugins, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_a_task_of_a_plugin(folder):
    ran = typed(folder, "profile", "task=walks", "task.hidden=32")
    assert ran.code == 0, ran.err
    assert ["0", "linear", "4 -> 32"] in [
        re.split(r"  +", line.strip())[:3] for line in ran.out.splitlines()
    ]


@pytest.mark.slow
def test_all_extensions_of_a_plugin_in_a_search(folder):
    """The task, a sampler and a scale rule; applied and scored without the plugin being named."""
    extensions = ["task=walks", "sampler=dice", "quantizer.scale=largest", "sensitivity=0"]
    granularity = ["quantizer.granularity=tensor", "budget=3x"]
    ran = typed(folder, "search", *extensions, *granularity, *RUN[1:], *BASELINE, *SHORT)
    assert ran.code == 0, ran.err
    study = Study(folder / "runs/walks-3x")
    config = study.config()
    assert (config["sampler"], config["quantizer"]["scale"]) == ("dice", "largest")
    assert config["task"] == {
        "_target_": "mymodule.Walks",
        "hidden": 24,
        "sizes": [1, 2],
        "seed": None,
    }
    assert {outcome.state for outcome in study.outcomes()} == {"complete"}
    applied = typed(folder, "apply", "study=runs/walks-3x")
    assert applied.code == 0, applied.err
    (file,) = study.path.glob("applied/*/model.safetensors")
    scored = typed(folder, "evaluate", f"artifact={file}", plugins="")
    assert scored.out.startswith("mse "), scored.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["task=walk"],
            "task must be one of digits, ptb, speech, stdlib, walks, wishes, with_required, got 'w",
        ),
        (["task=walks", "task.hiden=3"], "got 'task.hiden' (near: task.hidden"),
        (["task=walks", "model=gru"], "model must be left out: the task has no models"),
        (["task=with_required"], "task.length must be given, as in task.length=..."),
    ],
)
def test_mistakes(folder, arguments, line):
    assert line in refused(typed(folder, "profile", *arguments))


@pytest.mark.slow
def test_arguments_that_a_configuration_can_hold_are_settings(folder):
    ran = typed(folder, "profile", "--cfg", "job", "task=with_required")
    assert yaml.safe_load(ran.out)["task"] == {
        "_target_": "mymodule.with_required",
        "length": "???",
        "options": {"a": [1]},
    }


@pytest.mark.slow
def test_a_plugin_that_is_not_there(folder):
    line = refused(typed(folder, "profile", plugins="mymodule,nowhere"))
    assert line == (
        "AUTOQUANT_PLUGINS must name modules that can be imported, got 'nowhere': "
        "No module named 'nowhere'"
    )
    assert typed(folder, "profile", "--help", plugins="nowhere").code == 0


@pytest.mark.slow
def test_a_task_must_not_take_the_name_of_one_of_autoquant_s(folder):
    (folder / "taken.py").write_text(
        "from autoquant.task import task\n@task('digits')\nclass Digits: pass\n"
    )
    line = refused(typed(folder, "profile", plugins="taken"))
    assert line == "@task must have a name that autoquant does not use, got 'digits'"


@pytest.mark.slow
def test_a_file_may_set_what_else_a_task_of_a_plugin_needs(folder):
    (folder / "conf/task").mkdir(parents=True)
    text = "# @package _global_\ntask: {hidden: 48}\nwidening: {max_share: 0.9}\n"
    (folder / "conf/task/walks.yaml").write_text(text)
    ran = typed(folder, "profile", "--cfg", "job", "task=walks", "--config-dir=conf")
    assert (ran.code, ran.err) == (0, "")
    config = yaml.safe_load(ran.out)
    assert config["task"]["hidden"] == 48
    assert config["task"]["_target_"] == "mymodule.Walks"
    assert config["widening"]["max_share"] == 0.9


@pytest.mark.slow
def test_the_settings_that_a_plugin_prefers(folder):
    ran = typed(folder, "search", "--cfg", "job", "--resolve", "task=wishes", "trials=3")
    assert ran.code == 0, ran.err
    config = yaml.safe_load(ran.out)
    assert config["task"] == {"_target_": "mymodule.wishes", "hidden": 24}
    assert (config["study"], config["trials"]) == ("runs/wishes-2x", 3)
    assert config["widening"] == {"max_share": 0.9, "max_growth": 0.1, "method": "split"}
    assert config["rules"] == {"0": {"width": [1.0]}}
