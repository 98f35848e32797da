"""Bad input: one line, code 2, nothing written."""

from __future__ import annotations

import re

import pytest

from autoquant.study.folder import Study
from tests.cli.typed import RULES, TASK, TINY, contents, refused, run

SEARCHES = {
    "budgett=0.2x": "a setting must be one that --help lists, got 'budgett' (near: budget)",
    "qat.step=3": "got 'qat.step' (near: qat.steps, ",
    "task.hiden=3": "got 'task.hiden' (near: task.hidden, ",
    "+nothing=3": "got 'nothing'",
    "hydra.nothing=3": "a setting must be one that --help lists, got 'hydra.nothing'",
    "hydra/job_logging=nothing": "hydra/job_logging must be one of default, disabled, none, stdout",
    "budget={a: 3}": "budget must be a text such as '0.15x', '2.5MB' or '4.5bpw', got {'a': 3}",
    "hello": "a setting must look like key=value",
    "a=b=c": "got 'a=b=c'",
    "trials=many": "trials must be a whole number, got 'many'",
    "seed=1.5": "seed must be a whole number, got '1.5'",
    "baseline.lr=fast": "lr must be a number or auto, got 'fast'",
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
    "quantizer=": "quantizer must be one of bit_rnn, lsq, got ''",
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
    "task.tokens=abc": "tokens must be a whole number, got 'abc'",
    "task.length=abc": "the task could not be built: ",
    "task.root=nowhere": "must be in a folder, got 'nowhere'",
    "task._target_=foo.bar": "the task could not be built: No module named 'foo'",
    "study=../source": "study must be a new folder or a study, got '../source'",
    "study=../source/m00.py": "study must be a new folder or a study",
    "task=[1]": "task must be a name, got '[1]'",
    "model=[lstm,gru]": "model must be a name, got '[lstm,gru]'",
    f"task={'x' * 1000}": "task must be a name, got 'xxx",
    f"{'x' * 1000}=1": "a setting must have at most 10000 characters",
    f"budget={'x' * 20000}": "a setting must have at most 10000 characters",
    f"references=[{'1,' * 4000}]": "a setting must have at most 1000 values",
    f"budget={'[' * 99}{']' * 99}": "at most 50 brackets inside one another",
    f"rules={'{a: ' * 99}1{'}' * 99}": "at most 50 brackets inside one another",
    f"trials={'9' * 5000}": "Exceeds the limit (4300 digits)",
    f"task.cell={'x' * 5000}": "cell must be one of lstm, gru, got 'xxx",
    "rules={a: 2001-01-01}": "rules.a must be like {weight_bits: 8}, got '2001-01-01'",
    "--resolve": "--resolve",
    "--config-dir=nowhere": "--config-dir must be an existing folder, got 'nowhere'",
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("written", SEARCHES, ids=[key[:60] for key in SEARCHES])
def test_search_refuses(place, written, monkeypatch):
    monkeypatch.setattr("autoquant.training.baseline.train", None)
    study = [] if "study=" in written else ["study=new"]
    assert SEARCHES[written] in refused(run(place, "search", *TINY, *study, written))


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["task=stdlb"], "task must be one of digits, ptb, speech, stdlib, got 'stdlb'"),
        (["task=null"], "task must be a name, got 'null'"),
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
    assert line.startswith(
        "one search or sweep at a time can run in a study, got a second in 'done'"
    )


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
        (["apply", "study=."], "study must be a folder of a search or a sweep, got '.'"),
        (["report", "study=nowhere"], "must be a folder of a search or a sweep, got 'nowhere'"),
        (["report", "study=done", "format=gif"], "one or several of png, svg, pdf, got 'gif'"),
        (["report", "study=done", "format=[png,3]"], "of png, svg, pdf, got ['png', 3]"),
        (["report", "study=done", "width=wide"], "width must be one of page, column, got 'wide'"),
        (
            ["apply", "study=done", "init_from=end"],
            "init_from must be baseline or scratch, got 'end'",
        ),
        (["apply", "study=done", "plan=no.yaml"], "plan must be an existing YAML file"),
        (["apply", "study=done", "trial=99"], "trial must be one of the study's (w4, 0), got '99'"),
        (["apply", "study=done", "trial=0", "plan=done/plan.yaml"], "a trial or a plan, got both"),
        (["apply", "study=done", "steps=-1"], "final.steps must not be negative, got -1"),
        (["apply", "study=done", "stps=1"], "got 'stps' (near: steps)"),
        (["apply", "study=done", "quantizer=lsq"], "that --help lists, got 'quantizer'"),
        (["apply", "study=done", "trial=0", "device=x", "lr=1"], "that torch has here (auto, cpu"),
        (["evaluate"], "artifact must be given"),
        (["evaluate", "artifact=no"], "artifact must be an existing packed file, got 'no'"),
        (["export"], "artifact must be given"),
        (["export", "artifact=no"], "artifact must be an existing packed file, got 'no'"),
        (
            ["export", "artifact=done/baseline.safetensors"],
            "must be a file that autoquant pack",
        ),
        (["search", "target=tflite"], "target must be one of onnxruntime, c, got 'tflite'"),
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
        (
            "baseline.safetensors",
            "x",
            ["apply", "trial=0", "lr=1"],
            "must be a file of safetensors",
        ),
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
        "command must be one of profile, search, sweep, report, solve, apply, evaluate, "
    )
