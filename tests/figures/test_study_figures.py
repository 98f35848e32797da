from dataclasses import replace
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread

from autoquant.errors import RunError, UserError
from autoquant.figures.study_figures import FORMATS, draw_study
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


def test_writes_every_figure_as_png_and_svg(tmp_path):
    layers = [profiled("encoder", 0.7, ()), profiled("rnn.l0", 0.2, widenable=True)]
    study = study_of(tmp_path / "study", REFERENCES + TRIALS, layers=layers)
    paths = draw_study(study)
    names = ["pareto", "plan", "history", "profile"]
    assert [path.name for path in paths] == [
        f"{n}.{kind}" for n in names for kind in ("png", "svg")
    ]
    assert sorted(study.figures.iterdir()) == sorted(paths)  # no temporary file stays
    for png, svg in zip(paths[::2], paths[1::2], strict=True):
        image = imread(png)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.05
        root = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 100


def test_the_same_study_gives_the_same_svg(tmp_path, monkeypatch):
    monkeypatch.setattr("autoquant.figures.study_figures.FORMATS", {"svg": FORMATS["svg"]})
    study = study_of(tmp_path / "study", TRIALS[:1], replace(BASELINE, history=()))
    first = {path.name: path.read_bytes() for path in draw_study(study)}
    assert {path.name: path.read_bytes() for path in draw_study(study)} == first


def test_needs_outcomes(tmp_path):
    study = study_of(tmp_path / "study", [])
    with pytest.raises(
        UserError, match=r"^a study must have outcomes to report, got none in '.*'$"
    ):
        draw_study(study)
    assert not study.figures.exists()


def test_needs_a_folder_it_can_write(tmp_path):
    study = study_of(tmp_path / "study", TRIALS[:1])
    study.figures.write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        draw_study(study)


def test_without_a_feasible_plan_an_old_plan_figure_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("autoquant.figures.study_figures.DPI", 50)
    study = study_of(tmp_path / "study", TRIALS, budget="0.01x")
    study.figures.mkdir()
    (study.figures / "plan.png").write_text("old")
    assert {path.stem for path in draw_study(study)} == {"pareto", "history"}
    assert not (study.figures / "plan.png").exists()


def test_a_sweep_has_figures_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("autoquant.figures.study_figures.DPI", 50)
    budget = [run_result(None, 8, 39.0, width=width, budget="0.1x") for width in (1.0, 1.5)]
    study = sweep_of(tmp_path / "study", [run_result(4, 8, 38.0), *budget])
    write_profile(study.profile_file, [profiled("encoder", 0.7, ())])
    names = ["grid", "curves", "widths", "profile"]
    assert [path.stem for path in draw_study(study)[::2]] == names
    lost = sweep_of(tmp_path / "lost", [run_result(4, 8, None)])
    assert draw_study(lost) == []
