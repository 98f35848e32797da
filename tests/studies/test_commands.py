"""The studies' commands, without what they train."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from studies import commands
from studies.ptb import __main__ as ptb
from studies.speech import __main__ as speech
from tests.cli.typed import ROOT


@pytest.mark.parametrize("name", ptb.STUDIES)
def test_autoquant_knows_each_setting(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["ptb", name, "--cfg", "job"])
    ptb.main()
    shown = capsys.readouterr().out
    assert shown.count("autoquant s") == shown.count("\nbaseline:") == len(ptb.STUDIES[name])


@pytest.mark.parametrize("name", speech.STUDIES)
def test_autoquant_knows_each_setting_of_speech(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["speech", name, "task.data_dir=a b", "--cfg", "job"])
    with suppress(SystemExit):
        speech.main()
    shown = capsys.readouterr().out
    count = len(speech.STUDIES[name])
    assert shown.count("autoquant s") == shown.count("\nbaseline:") == count
    assert shown.count("data_dir: a b\n") == count


def test_the_first_command_that_fails_ends_a_study(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    codes = iter((0, 2))

    def autoquant(arguments: list[str]) -> None:
        ran.append(arguments[-1])
        sys.exit(next(codes))

    monkeypatch.setattr(commands, "autoquant", autoquant)
    monkeypatch.setattr(sys, "argv", ["ptb", "scratch", "device=cpu"])
    with pytest.raises(SystemExit) as ended:
        ptb.main()
    assert (ended.value.code, ran) == (2, ["device=cpu"] * 2)


def test_an_unknown_study_is_told_which_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ptb", "tabel1"])
    with pytest.raises(SystemExit) as ended:
        ptb.main()
    assert ended.value.code == 2
    assert "STUDY is one of: lstm, gru, " in capsys.readouterr().out
