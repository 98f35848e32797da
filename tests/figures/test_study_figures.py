from dataclasses import replace
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread

from autoquant.commands.report import report
from autoquant.errors import RunError, UserError
from autoquant.figures.page import COLUMN, PAGE
from autoquant.figures.plan_table import draw_plan, plan_data
from autoquant.figures.study_figures import DPI, FORMATS, draw_study, figures_of
from tests.figures.samples import (
    BASELINE,
    REFERENCES,
    TRIALS,
    profiled,
    run_result,
    study_of,
    sweep_of,
    write_profile,
)

FEW = [profiled("encoder", 0.7, ()), profiled("rnn.l0", 0.2, widenable=True)]


def bare_study(path):
    """A study with two figures, which are quickly drawn."""
    return study_of(path, TRIALS[:1], replace(BASELINE, history=()), budget="0.01x")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    study = study_of(tmp_path_factory.mktemp("reported") / "study", REFERENCES + TRIALS, layers=FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoquant.figures.study_figures.DPI", 60)
        return study, draw_study(study)


def test_writes_every_figure_as_png_and_svg(reported):
    study, paths = reported
    names = ["pareto", "plan", "history", "profile"]
    assert [path.name for path in paths] == [
        f"{n}.{kind}" for n in names for kind in ("png", "svg")
    ]
    assert sorted(study.figures.iterdir()) == sorted(paths)  # no temporary file stays
    for png, svg in zip(paths[::2], paths[1::2], strict=True):
        image = imread(png)
        assert min(image.shape[:2]) > 60
        assert image[..., :3].std() > 0.05
        root = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 100


@pytest.fixture
def one_figure(monkeypatch):
    """Reports have the plan figure alone, which is quickly drawn."""
    monkeypatch.setattr(
        "autoquant.figures.study_figures.figures_of",
        lambda study, page: {"plan": draw_plan(plan_data(TRIALS[1]), page), "grid": None},
    )


@pytest.mark.usefixtures("one_figure")
def test_the_same_study_gives_the_same_files_in_every_format(tmp_path):
    study = bare_study(tmp_path / "study")
    first = {path.name: path.read_bytes() for path in report(study, formats=[*FORMATS])}
    assert [*first] == ["plan.png", "plan.svg", "plan.pdf", "report.html"]
    assert first["plan.pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in first["plan.pdf"]
    again = {path.name: path.read_bytes() for path in report(study, formats=[*FORMATS])}
    assert again == first


@pytest.mark.usefixtures("one_figure")
def test_a_column_and_one_format(tmp_path):
    study = bare_study(tmp_path / "study")
    paths = report(study.path, formats="png", width="column")
    assert [path.name for path in paths] == ["plan.png", "report.html"]
    assert imread(paths[0]).shape[1] == pytest.approx(COLUMN.width * DPI, abs=1)


@pytest.mark.parametrize("formats", ["gif", ["png", "gif"], [], 3, [["png"]], None])
def test_other_formats_are_refused(tmp_path, formats):
    study = bare_study(tmp_path / "study")
    with pytest.raises(
        UserError, match=r"^format must be one or several of png, svg, pdf, got .*$"
    ):
        report(study, formats=formats)
    with pytest.raises(UserError, match=r"^width must be one of page, column, got 'wide'$"):
        report(study, width="wide")
    assert not study.figures.exists()


def test_needs_outcomes(tmp_path):
    study = study_of(tmp_path / "study", [])
    with pytest.raises(
        UserError, match=r"^a study must have outcomes to report, got none in '.*'$"
    ):
        draw_study(study)
    assert not study.figures.exists()


def test_needs_a_folder_it_can_write(tmp_path):
    study = bare_study(tmp_path / "study")
    study.figures.write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        draw_study(study)


def test_without_a_feasible_plan_an_old_plan_figure_goes_in_every_format(tmp_path, monkeypatch):
    study = bare_study(tmp_path / "study")
    study.figures.mkdir()
    for kind in FORMATS:
        (study.figures / f"plan.{kind}").write_text("old")
    assert figures_of(study, PAGE)["plan"] is None
    monkeypatch.setattr(
        "autoquant.figures.study_figures.figures_of", lambda study, page: {"plan": None}
    )
    assert draw_study(study, "png") == []
    assert not [*study.figures.iterdir()]


def test_a_sweep_has_figures_of_its_own(tmp_path):
    budget = [run_result(None, 8, 39.0, width=width, budget="0.1x") for width in (1.0, 1.5)]
    study = sweep_of(tmp_path / "study", [run_result(4, 8, 38.0), *budget])
    write_profile(study.profile_file, [profiled("encoder", 0.7, ())])
    drawn = figures_of(study, PAGE)
    assert [*drawn] == ["grid", "curves", "widths", "profile"]
    assert all(drawn.values())
    lost = sweep_of(tmp_path / "lost", [run_result(4, 8, None)])
    assert not any(figures_of(lost, PAGE).values())
