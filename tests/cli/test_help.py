"""What the commands say of themselves."""

from __future__ import annotations

import subprocess
import sys
from itertools import takewhile

import pytest

import autoquant
from autoquant.cli.help import overview_answer
from autoquant.cli.task_texts import task_texts
from autoquant.tasks.task_file import task_file
from tests.cli.typed import refused, run


def test_help_and_version(place):
    assert run(place, "--help") == (0, f"{overview_answer().text}\n", "")
    assert run(place) == (2, f"{overview_answer().text}\n", "")
    assert run(place, "--version").out.strip() == autoquant.__version__
    ran = run(place, "search", "--help")
    assert ran.code == 0
    assert "  budget " in ran.out
    assert "  baseline.steps " in ran.out
    assert "no such bound. (default empty)" in ran.out


@pytest.mark.usefixtures("unchanged")
def test_cfg_prints_what_would_be_used(place):
    ran = run(place, "search", "--cfg", "job", "quantizer=bit_rnn", "trials=3")
    assert ran.code == 0
    assert "\ntrials: 3\n" in ran.out
    assert "  reparametrization: tanh\n" in ran.out
    assert "_target_: autoquant.tasks.language.stdlib\n" in ran.out


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("command", "model", "study"),
    [
        ("search", "lstm", "runs/stdlib-0.075x"),
        ("search", "gru", "runs/stdlib-gru-0.075x"),
        ("search", "bit_rnn_lstm", "runs/stdlib-bit_rnn_lstm-0.6x"),
        ("sweep", "gru", "runs/stdlib-gru-sweep"),
    ],
)
def test_a_default_folder_names_the_model(place, command, model, study):
    ran = run(place, command, "--cfg", "job", "--resolve", f"model={model}")
    assert ran.code == 0
    assert f"\nstudy: {study}\n" in ran.out


def test_help_and_mistakes_do_not_wait_for_torch():
    code = """
import sys
from autoquant.cli.main import main
pages = [[command, "--help", "task=ptb", "model=gru"] for command in ("search", "sweep", "profile")]
for arguments in (["--help"], ["--version"], *pages, ["serach"], ["search", "a=1"]):
    try:
        main(arguments)
    except SystemExit:
        pass
print([name for name in ("torch", "optuna", "matplotlib") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_python_runs_the_package():
    command = [sys.executable, "-m", "autoquant", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == autoquant.__version__


def test_a_warning_of_the_package_reaches_the_terminal():
    code = """
import logging
from autoquant.cli.main import main
import autoquant.quantization.native.library
try:
    main(["search", "--cfg", "job"])
finally:
    logging.getLogger("autoquant.quantization.native.library").warning("slower")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "slower\n"


def entry(page: str, name: str) -> str:
    """The meaning of a setting, on one line."""
    lines = iter(page.splitlines())
    words = [next(line for line in lines if line.split()[:1] == [name]).split(maxsplit=1)[-1]]
    words += [line.strip() for line in takewhile(lambda line: line.startswith(" " * 20), lines)]
    return " ".join(words).removeprefix(name).strip()


@pytest.mark.parametrize("command", ["search", "sweep", "profile"])
@pytest.mark.parametrize("task", ["stdlib", "ptb", "digits"])
def test_a_page_shows_the_defaults_and_the_settings_of_a_task(place, command, task):
    ran = run(place, command, f"task={task}", "--help")
    assert (ran.code, ran.err) == (0, "")
    file = task_file(task)
    share = file.preferred.widening.max_share
    assert entry(ran.out, "widening.max_share").endswith(f"(default {share})")
    for name in file.arguments:
        text = entry(ran.out, f"task.{name}")
        assert "(default " in text
        assert not text.startswith("(default ")
    if task == "ptb":
        assert entry(ran.out, "task.data_dir").endswith("(must be given)")
    if command != "profile":
        lr = file.preferred.baseline.lr
        text = entry(ran.out, "baseline.lr")
        assert text.startswith("Peak learning rate. ")
        assert text.endswith(f" (default {lr})")


def test_the_model_and_the_quantizer_count_wherever_they_stand(place):
    ran = run(place, "search", "model=bit_rnn_gru", "--help", "trials=3", "task=ptb", "nothing=3")
    assert entry(ran.out, "task.candidate").endswith("(default sigmoid)")
    assert entry(ran.out, "quantizer.scale").endswith("(default mean)")
    assert entry(ran.out, "budget").endswith("(default 0.6x)")
    assert entry(ran.out, "trials").endswith("(default 16)")
    assert entry(ran.out, "rules").endswith("(default {embedding: {weight_bits: 32}})")
    ran = run(place, "search", "--help", "quantizer=bit_rnn")
    assert entry(ran.out, "quantizer.bias_bits").endswith("(default 32)")


OWN = """\
# @package _global_
defaults: [/task/stdlib, _self_]
task:
  hidden: 24    # units that I chose,
                # after a while
  inner: {_target_: a.b, size: 3}
qat: {epochs: 2}
final: {lr: '${qat.lr}'}
"""


@pytest.mark.parametrize("option", [["--config-dir", "conf"], ["--config-dir=conf"]])
def test_a_task_of_ones_own_that_extends_another(tmp_path, option):
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text(OWN)
    ran = run(tmp_path, "search", "task=mine", *option, "--help")
    assert ran.code == 0, ran.err
    assert entry(ran.out, "task.hidden") == "units that I chose, after a while (default 24)"
    assert entry(ran.out, "task.cell") == "lstm or gru (default lstm)"
    assert entry(ran.out, "task.inner.size") == "(default 3)"
    assert entry(ran.out, "qat.steps").endswith("(default null)")
    assert entry(ran.out, "final.lr").endswith("(default 0.001)")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["task=stdlb"],
            "task must be one of digits, ptb, speech, stdlib, got 'stdlb' (near: stdlib)",
        ),
        (["model=rnn"], "model must be one of bit_rnn_gru, bit_rnn_lstm, gru, lstm, got 'rnn'"),
        (["--config-dir=gone"], "--config-dir must be an existing folder, got 'gone'"),
        (["task=[a]"], "task must be a name, got '[a]'"),
    ],
)
def test_mistakes_in_what_a_page_is_asked_for(place, arguments, line):
    assert refused(run(place, "search", *arguments, "--help")) == line


def test_a_docstring_explains_the_settings_of_a_registered_task(monkeypatch):
    class Walks:
        """Walks.

        Args:
            steps: of a walk.
        """

    monkeypatch.setattr("autoquant.cli.task_texts.TASKS", {"walks": Walks})
    assert task_texts("walks", []) == {"steps": "of a walk."}
    assert task_texts("others", []) == {}
