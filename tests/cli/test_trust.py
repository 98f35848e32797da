"""A folder that somebody else has made: nothing of it is run before the user trusts it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from autoquant.commands.apply import apply
from autoquant.errors import UserError
from autoquant.study.folder import Study
from tests.cli.typed import refused, run
from tests.toys import language_task

EVIL = "from pathlib import Path\nPath(__file__).with_name('was run').touch()\nclass Task: ...\n"


@pytest.fixture
def received(place, searched, packed, tmp_path, monkeypatch) -> Path:
    """A study with a packed file, in a folder with a module that tells when it is imported."""
    folder = tmp_path / "here"
    shutil.copytree(place / "done", folder / "study")
    (tmp_path / "source").symlink_to(place.parent / "source")  # which the study's task reads
    (folder / "evil.py").write_text(EVIL)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return folder


def forge(folder: Path, **changes: object) -> None:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def copied(packed: Path, folder: Path) -> Path:
    """The packed file in the copy of its study."""
    return folder / "study/applied" / packed.parent.name / packed.name


FORGED = {
    "task": {"task": {"_target_": "evil.Task"}},
    "loss": {"task": {"_target_": "autoquant.tasks.digits.digits", "loss": "evil.Task"}},
    "kernel": {"kernel": "evil.Task"},
    "scale": {"quantizer": {"scale": "evil.Task", "granularity": "tensor"}},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("command", ["apply", "evaluate"])
def test_a_forged_configuration_is_not_run(command, changes, received, packed):
    forge(received / "study", **changes)
    argument = "study=study" if command == "apply" else f"artifact={copied(packed, received)}"
    line = refused(run(received, command, argument))
    assert line.startswith("trust=true must be given for a study that this user has not searched")
    assert line.endswith("/config.yaml' would import and call 'evil.Task'")
    assert not (received / "was run").exists()


def test_trust_is_given_by_the_user(received):
    forge(received / "study", task={"_target_": "evil.Task"})
    for arguments in (["trust=true"], []):  # and is remembered
        ran = run(received, "apply", "study=study", *arguments)
        assert refused(ran) == "the task must follow autoquant.Task, got a Task"
        assert (received / "was run").exists()


def test_from_python_a_forged_engine_is_not_run(received):
    forge(received / "study", kernel="evil.Task")
    with pytest.raises(UserError, match=r"would import and call 'evil\.Task'"):
        apply(received / "study", language_task(), progress=False)
    assert not (received / "was run").exists()


def test_a_report_runs_nothing(received):
    targets = {"_target_": "evil.Task", "loss": "evil.Task"}
    scheme = {"scale": "evil.Task", "grid": "evil.Task"}
    names = dict.fromkeys(("kernel", "sampler", "device", "pretrained"), "evil.Task")
    forge(received / "study", task=targets, quantizer=scheme, **names)
    ran = run(received, "report", "study=study")
    assert ran.code == 0, ran.err
    assert not (received / "was run").exists()


def test_only_the_study_of_the_file_is_looked_at(received, packed):
    """Not every folder above it, as a folder for downloads may be."""
    study = received / "study"
    for name in ("config.yaml", "journal.log"):
        shutil.copy(study / name, received / name)
    forge(received, task={"_target_": "evil.Task"})
    file = copied(packed, received)
    for place in (received / "model.safetensors", received / "a/b/model.safetensors"):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
        line = refused(run(received, "evaluate", f"artifact={place}"))
        assert line == f"task must be given for a file outside a study, got artifact={place}"
    assert run(received, "evaluate", f"artifact={file}").code == 0
    assert not (received / "was run").exists()


def test_modules_of_a_folder_do_not_stand_in_for_installed_ones(received, packed, monkeypatch):
    """A ready task needs no module of the current folder, so none is found there."""
    seen: list[str] = []
    monkeypatch.setattr("autoquant.cli.task_builder.add_current_folder", lambda: seen.append("."))
    assert run(received, "evaluate", f"artifact={copied(packed, received)}").code == 0
    assert seen == []
    assert Study(received / "study").config()["task"]["_target_"].startswith("autoquant.")
