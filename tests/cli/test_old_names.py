"""Old names of settings on the command line: one line each, and the command runs."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from autoquant.cli.old_names import rename_in, with_present_names

SWEEP = (
    "autoquant: setting 'sweep.start' is now named 'sweep.init_from' (since version 0.1.0); "
    "version 0.2.0 will refuse 'sweep.start'\n"
)


def test_arguments_get_their_present_names(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["start=a=b", "++sweep.start=scratch", "prune=true", "study=start", "-m", "start"]
    expected = ["init_from=a=b", "++sweep.init_from=scratch", "study=start", "-m", "start"]
    assert with_present_names(typed, "apply") == expected
    written = capsys.readouterr()
    assert not written.out
    assert len(written.err.splitlines()) == 3
    assert SWEEP in written.err
    assert "setting 'prune' has no effect any more (since version 0.1.0)" in written.err


def test_a_setting_of_one_command_is_no_setting_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert with_present_names(["start=a"], "search") == ["start=a"]
    assert not capsys.readouterr().err


def test_a_configuration_file_gets_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    config = OmegaConf.create({"prune": True, "sweep": {"start": "scratch", "save": True}})
    OmegaConf.set_struct(config, True)
    rename_in(config)
    assert config == {"sweep": {"init_from": "scratch", "save": True}}
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("content", [{}, {"sweep": None}, {"sweep": "${other}", "other": 3}])
def test_other_files_stay_as_they_are(content: dict[str, object]) -> None:
    config = OmegaConf.create(content)
    rename_in(config)
    assert OmegaConf.to_container(config) == content
