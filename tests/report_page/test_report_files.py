from __future__ import annotations

from pathlib import Path

import pytest

from autoquant.errors import RunError
from autoquant.report_page.report_files import refresh_page, write_report
from autoquant.study.folder import Study
from tests.figures.samples import TRIALS, study_of
from tests.report_page.samples import apply_trial

FIGURE = Path("pareto.png")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose figures are not drawn: that is tested elsewhere."""
    monkeypatch.setattr("autoquant.report_page.report_files.draw_study", lambda *_: [FIGURE])
    return study_of(tmp_path / "study", TRIALS)


def fail(*_: object) -> None:
    raise KeyError("a fault")


def test_the_page_is_the_last_file(study: Study) -> None:
    paths = write_report(study)
    assert paths == [FIGURE, study.path / "report.html"]
    assert study.page_file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_figures_do_not_fail_with_the_page(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autoquant.report_page.page.search_content", fail)
    assert write_report(study) == [FIGURE]
    assert (
        capsys.readouterr().err == f"autoquant: '{study.page_file}' could not be made: 'a fault'\n"
    )


def test_a_page_that_cannot_be_written_is_an_error(study: Study) -> None:
    study.page_file.mkdir()
    with pytest.raises(RunError, match=r"report.html' could not be written"):
        write_report(study)


def test_only_a_page_that_is_there_is_refreshed(study: Study) -> None:
    refresh_page(study)
    assert not study.page_file.exists()
    study.page_file.write_text("old")
    apply_trial(study, study.outcomes()[1], test=40.5)
    refresh_page(study)
    assert "applied: trial 1" in study.page_file.read_text(encoding="utf-8")


def test_a_refresh_that_fails_is_a_line(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study.page_file.write_text("old")
    monkeypatch.setattr("autoquant.report_page.report_files.write_page", deny)
    refresh_page(study)
    assert capsys.readouterr().err == "autoquant: no space\n"


def deny(study: Study) -> Path:
    raise RunError("no space")
