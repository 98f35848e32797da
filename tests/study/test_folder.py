"""A study folder: made once, continued with the same configuration, held by one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoquant.errors import RunError, UserError
from autoquant.plan import LayerChoice, Plan
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.configuration import CHANGEABLE_SETTINGS
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome, to_csv

CONFIG: dict[str, Any] = {
    "task": {"_target_": "toys.language", "options": {"hidden": 12}},
    "budget": "0.15x",
    "seed": 0,
    "trials": 8,
    "device": "auto",
    "pretrained": None,
    "rounds": {"size": 8},
    "qat": {"lr": 1e-05, "steps": 100, "prune": True},
    "space": {"width": (1.0, 1.5), "weight_bits": [2, 4]},
}
BASELINE = BaselineRecord(
    9.5, 4000, 1000, "perplexity", "minimize", 30, 1.25, ((10, 12.0), (20, 10.0))
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(tmp_path / "deep" / "study", CONFIG)


def changed(key: str, value: Any) -> dict[str, Any]:
    """The configuration with one leaf changed, dots between keys."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    *path, last = key.split(".")
    place = config
    for part in path:
        place = place[part]
    place[last] = value
    return config


# --- creating and continuing ----------------------------------------------------------------------


def test_create(study: Study) -> None:
    assert study.path.is_dir()
    assert [each.name for each in study.path.iterdir()] == ["config.yaml"]
    assert study.config()["qat"] == CONFIG["qat"]
    assert Study.open(study.path) == study


def test_create_in_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert Study.create(tmp_path / "empty", CONFIG).config_file.is_file()


@pytest.mark.parametrize("how", [str, Path], ids=["str", "Path"])
def test_continue(how: Any, study: Study) -> None:
    before = study.config_file.read_bytes()
    study.trials_file.touch()
    again = Study.create(how(study.path), CONFIG)
    assert again == study
    assert again.config_file.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("budget", "0.15x", "0.2x"),
        ("seed", 0, 1),
        ("pretrained", None, "weights.safetensors"),
        ("qat.lr", 1e-05, 1e-04),
        ("qat.prune", True, False),
        ("task.options.hidden", 12, 16),
        ("space.weight_bits", [2, 4], [2, 4, 8]),
        ("space.width", [1.0, 1.5], [1.0, 2.0]),
    ],
)
def test_another_configuration_is_refused_by_name(
    key: str, old: Any, new: Any, study: Study
) -> None:
    before = study.config_file.read_bytes()
    with pytest.raises(UserError) as caught:
        Study.create(study.path, changed(key, new))
    message = str(caught.value)
    assert f"was made with {key}={old}, got {key}={new};" in message
    assert str(study.path) in message
    assert "\n" not in message
    assert study.config_file.read_bytes() == before


def test_a_setting_more_or_less_is_a_difference(study: Study) -> None:
    more = changed("qat.clip", 1.0)
    with pytest.raises(UserError, match=r"with qat\.clip=None, got qat\.clip=1\.0"):
        Study.create(study.path, more)
    less = changed("qat.lr", 0)
    del less["qat"]["lr"]
    with pytest.raises(UserError, match=r"with qat\.lr=1e-05, got qat\.lr=None"):
        Study.create(study.path, less)


def test_rules_in_another_order_are_a_difference(tmp_path: Path) -> None:
    rules = {"*": {"width": [1.0]}, "decoder": {"width": [1.5]}}
    study = Study.create(tmp_path / "s", {"rules": rules})
    assert Study.create(study.path, {"rules": dict(rules)}) == study
    line = r"rules for \*, decoder, got them in the order decoder, \*; take that order"
    with pytest.raises(UserError, match=line):
        Study.create(study.path, {"rules": dict(reversed(rules.items()))})
    with pytest.raises(UserError, match=r"rules\.decoder\.width=\[1\.5\], got .*=None"):
        Study.create(study.path, {"rules": {"*": {"width": [1.0]}}})


def test_a_setting_that_an_older_version_did_not_know_has_its_default(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "s", {"qat": {"lr": 0.1}})
    assert Study.create(study.path, {"qat": {"lr": 0.1, "autocast": "none"}, "rules": {}}) == study
    with pytest.raises(UserError, match=r"with qat\.autocast=none, got qat\.autocast=bfloat16"):
        Study.create(study.path, {"qat": {"lr": 0.1, "autocast": "bfloat16"}})


@pytest.mark.parametrize(
    ("key", "value"), [("trials", 99), ("device", "cuda:1"), ("study", "x"), ("tensorboard", True)]
)
def test_free_keys_may_differ(key: str, value: Any, study: Study) -> None:
    assert key in CHANGEABLE_SETTINGS
    assert Study.create(study.path, changed(key, value)) == study
    assert study.config().get(key) == CONFIG.get(key)  # what it was made with stays


def test_only_the_first_level_is_free(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "s", {"task": {"device": "cpu"}})
    with pytest.raises(UserError, match=r"task\.device=cpu, got task\.device=cuda"):
        Study.create(study.path, {"task": {"device": "cuda"}})


def test_python_and_the_command_line_may_continue_each_other(tmp_path: Path) -> None:
    tasks = {"name": "stdlib"}, {"_target_": "autoquant.tasks.language.stdlib", "tokens": 5}
    for number, (first, second) in enumerate((tasks, tasks[::-1])):
        study = Study.create(tmp_path / f"{number}", {**CONFIG, "task": first})
        assert Study.create(study.path, {**CONFIG, "task": second}).config()["task"] == first
        with pytest.raises(UserError, match="was made with seed="):
            Study.create(study.path, {**CONFIG, "task": second, "seed": 77})


# --- what is no study -----------------------------------------------------------------------------


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="study must be a new folder or a study"):
        Study.create(tmp_path, CONFIG)
    with pytest.raises(UserError, match="study must be a folder of a search or a sweep"):
        Study.open(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_process_may_be_making_the_same_study(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.123.tmp").write_text("half")
    assert Study.create(tmp_path, {"task": 1}).config() == {"task": 1}


def test_a_study_that_appears_meanwhile_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look into the folder and the look at the configuration."""
    real = Path.iterdir

    def iterdir(path: Path) -> Any:
        monkeypatch.undo()
        found = list(real(path))
        Study.create(path, {"task": 1})
        return found

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert Study.create(tmp_path, {"task": 1}).config() == {"task": 1}


def test_a_search_and_a_sweep_do_not_mix(tmp_path: Path) -> None:
    Study.create(tmp_path / "search", {"task": 1})
    Study.create(tmp_path / "sweep", {"task": 1, "sweep": {"seeds": [0]}})
    Study.create(tmp_path / "sweep", {"task": 1, "sweep": {"seeds": [0, 1]}})
    with pytest.raises(UserError, match="was made by a search, got a sweep"):
        Study.create(tmp_path / "search", {"task": 1, "sweep": {}})
    with pytest.raises(UserError, match="was made by a sweep, got a search"):
        Study.create(tmp_path / "sweep", {"task": 1})


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="study must be a new folder or a study"):
        Study.create(tmp_path / "file", CONFIG)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="study must be a folder of a search or a sweep"):
        Study.open(tmp_path / "none")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written: Not a directory") as caught:
        Study.create(tmp_path / "file" / "study", CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n- b\n", b"just words", b"a: [1, 2", b"a: b: c", b"\xff\xfe\x00garbage", b"\x00"],
    ids=["empty", "list", "words", "open bracket", "nested", "not UTF-8", "zero byte"],
)
def test_a_damaged_configuration(content: bytes, study: Study) -> None:
    study.config_file.write_bytes(content)
    for read in (study.config, lambda: Study.create(study.path, CONFIG)):
        with pytest.raises(UserError, match=r"must (be valid YAML|hold a config)") as caught:
            read()
        assert str(study.config_file) in str(caught.value)
        assert "\n" not in str(caught.value)


# --- the lock -------------------------------------------------------------------------------------

TRY = """
import sys
from autoquant.errors import UserError
from autoquant.study.folder import Study
try:
    with Study.open(sys.argv[1]).locked():
        print("held")
except UserError as error:
    print(error)
"""


def try_elsewhere(study: Study) -> str:
    """What another process gets."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(study.path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_one_process_at_a_time(study: Study) -> None:
    with study.locked():
        said = try_elsewhere(study)
        assert said.startswith("one search or sweep at a time can run in a study")
        assert str(study.path) in said
    assert try_elsewhere(study) == "held"


def test_not_twice_in_one_process_either(study: Study) -> None:
    with (
        study.locked(),
        pytest.raises(UserError, match="one search or sweep at a time"),
        study.locked(),
    ):
        pass


def test_an_error_inside_lets_go(study: Study) -> None:
    with pytest.raises(KeyError), study.locked():
        raise KeyError("of the search")
    with study.locked():
        pass


# --- what it holds --------------------------------------------------------------------------------


def test_baseline_round_trip(study: Study) -> None:
    with pytest.raises(UserError, match="must have a trained baseline, got none"):
        study.baseline()
    study.write_baseline(BASELINE)
    assert study.baseline() == BASELINE


def test_outcomes(study: Study) -> None:
    assert study.outcomes() == []
    outcome = Outcome("w4", "reference", Plan({"fc": LayerChoice(4)}), 10, "complete", 3.0)
    study.outcomes_file.write_text(to_csv([outcome], 40), encoding="utf-8")
    assert study.outcomes() == [outcome]


def test_plan(study: Study) -> None:
    with pytest.raises(UserError, match="must have a chosen plan, got none"):
        study.plan()
    plan = Plan({"rnn.l0": LayerChoice(4, 8, 1.5)})
    study.plan_file.write_text(plan.to_yaml(), encoding="utf-8")
    assert study.plan() == plan


def test_every_file_is_inside(study: Study) -> None:
    places = [
        study.config_file,
        study.trials_file,
        study.journal_file,
        study.baseline_file,
        study.baseline_record,
        study.profile_file,
        study.outcomes_file,
        study.runs_file,
        study.plan_file,
        study.figures,
        study.page_file,
        study.applied("best"),
    ]
    assert len(set(places)) == len(places)
    assert all(study.path in place.parents for place in places)
