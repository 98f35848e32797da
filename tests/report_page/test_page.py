from __future__ import annotations

import base64
import hashlib
import math
import re
import shutil
from pathlib import Path

import pytest

from autoquant.budget import readable
from autoquant.costs.bit_ops import bit_ops
from autoquant.costs.macs import macs
from autoquant.costs.plan_costs import costs_of, float_costs
from autoquant.figures.labels import format_score, outcome_label
from autoquant.figures.study_data import read_study_data
from autoquant.graph.network import Network
from autoquant.report_page.page import render_page, write_page
from autoquant.settings import Scheme
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable
from tests.figures.samples import run_result, sweep_of
from tests.report_page.parsing import Element, parse
from tests.report_page.samples import (
    FLOAT_SCORE,
    HOSTILE,
    ROOT,
    apply_trial,
    network_of,
    outcome_of,
    search_of,
    trials_of,
)

TIMES = "\N{MULTIPLICATION SIGN}"
NOTHING_MADE = "This could not be made"


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(6)


@pytest.fixture(scope="module")
def study(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = search_of(tmp_path_factory.mktemp("page") / "study", network, budget=["0.2x", "0.1x"])
    apply_trial(made, made.outcomes()[2], test=40.125)
    return made


@pytest.fixture(scope="module")
def page(study: Study) -> Element:
    return parse(render_page(study))


def missing(html: str) -> list[str]:
    return [each.text for each in parse(html).of_class("p", "missing")]


# --- values ---------------------------------------------------------------------------------------


def test_results_are_those_of_the_study(page: Element, study: Study) -> None:
    first, chosen = study.outcomes()[1], study.outcomes()[2]
    rows = {row[0]: row[1:] for row in page.by_id("results").every("table")[0].rows()}
    float_bytes = study.baseline().size_bytes
    assert rows["float model"] == [
        *(readable(float_bytes), "1.0000x", f"1.0{TIMES}", "300"),
        *(format_score(FLOAT_SCORE), "39.25"),
    ]
    assert rows["first plan within 0.2x: trial 0"][0] == readable(first.size_bytes)
    row = rows["chosen plan within 0.2x: trial 1"]
    share = chosen.size_bytes / float_bytes
    assert row[:4] == [
        readable(chosen.size_bytes),
        f"{share:.4f}x",
        f"{1 / share:.1f}{TIMES}",
        "400",
    ]
    assert row[4] == f"39.00 ± {math.sqrt(0.02) / math.sqrt(2):.2f}"  # the mean of two orders
    assert rows["applied: trial 1"][-2:] == ["39", "40.12"]


def test_an_applied_plan_has_the_name_of_its_trial(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.path, tmp_path / "study")
    folder = tmp_path / "study/applied"
    (folder / "trial-1").rename(folder / "plan-0123abcd-scratch")
    rows = parse(render_page(Study(tmp_path / "study"))).by_id("results").every("table")[0].rows()
    assert rows[-1][0] == "applied: trial 1, from scratch"


def test_every_plan_is_in_the_table_with_its_layers(page: Element, study: Study) -> None:
    table, outcomes = page.by_id("trial-table"), study.outcomes()
    rows = [
        [each for each in row.children if isinstance(each, Element)]
        for row in table.every("tr")
        if row.attributes.get("id", "").startswith("plan-")
    ]
    assert [row[0].text for row in rows] == [outcome_label(outcome) for outcome in outcomes]
    for row, outcome in zip(rows, outcomes, strict=True):
        assert row[1].text == f"{outcome.state} {outcome.reason}".strip()
        assert int(row[2].attributes["data-value"]) == outcome.size_bytes
        if outcome.score is not None:
            assert float(row[5].attributes["data-value"]) == outcome.score
        plan = {cells[0]: cells[1:3] for cells in row[6].every("table")[0].rows()}
        assert plan == {
            name: [str(choice.weight_bits), str(choice.activation_bits)]
            for name, choice in outcome.plan.choices.items()
        }


def test_points_name_their_plans(page: Element, study: Study) -> None:
    points = page.by_id("front").of_class("a", "point")
    ids = {f"#plan-{i}" for i, each in enumerate(study.outcomes()) if each.score is not None}
    assert {point.attributes["href"] for point in points} == ids
    labels = {point.attributes["href"]: point.attributes["aria-label"] for point in points}
    assert labels["#plan-2"].startswith("trial 1: perplexity 39.00 ± 0.10, ")
    assert page.by_id("plan-2").tag == "tr"
    assert sorted(points, key=lambda p: float(p.every("circle")[0].attributes["cx"])) == points


def test_layers_add_up_to_the_files(page: Element, study: Study, network: Network) -> None:
    tables = page.by_id("layers").every("table")
    chosen = [study.outcomes()[2], study.outcomes()[3]]
    assert len(tables) == 2  # one for each budget
    for table, outcome in zip(tables, chosen, strict=True):
        values = [
            [float(cell.attributes["data-value"]) for cell in row.every("td") if number(cell)]
            for row in table.every("tr")
            if row.every("td")
        ]
        layers, outside, total = values[:-2], values[-2], values[-1]
        assert len(layers) == 6
        before, after = float_costs(network), costs_of(network, outcome.plan, Scheme())
        assert total[:2] == [before.size_bytes, outcome.size_bytes]
        assert sum(row[3] for row in layers) + outside[0] == before.size_bytes
        assert sum(row[4] for row in layers) + outside[1] == after.size_bytes
        assert sum(row[6] for row in layers) == before.macs == total[3]
        assert sum(row[7] for row in layers) == after.macs
        assert sum(row[8] for row in layers) == before.bit_ops
        assert sum(row[9] for row in layers) == after.bit_ops == total[6]
        first = network.layers[0]
        choice = outcome.plan[first.name]
        assert macs.layers is not None
        assert bit_ops.layers is not None
        assert layers[0][7] == macs.layers.of_layer(network, first, choice, Scheme())
        assert layers[0][9] == bit_ops.layers.of_layer(network, first, choice, Scheme())


def number(cell: Element) -> bool:
    return "data-value" in cell.attributes


def test_sensitivities_are_complete_and_mark_the_plan(page: Element, network: Network) -> None:
    table = page.by_id("sensitivity-table")
    rows = table.rows()
    assert [row[0] for row in rows] == list(network.names)
    assert rows[1][1:] == ["0.250 ±0.001", "0.050 ±0.001", "noise"]
    framed = table.of_class("td", "framed")
    assert len(framed) == 3  # trial 1 has 4 bits in every other layer
    assert {cell.text for cell in framed} == {"noise"}


def test_curves_have_every_rung(page: Element) -> None:
    trials, floats = page.by_id("training").every("figure")
    labels = {each.every("title")[0].text for each in trials.of_class("g", "curve")}
    assert "trial 1: 40.1 after 100 steps, 39 after 400 steps" in labels
    assert "probe split" in floats.text
    assert len(floats.every("circle")) == 3


def test_commands_name_the_study_and_the_packed_file(page: Element, study: Study) -> None:
    commands = [each.text for each in page.by_id("next").every("code")]
    assert commands[0] == f"autoquant apply study={study.path}"
    assert commands[1] == f"autoquant apply study={study.path} budget=0.1x"
    file = study.applied("trial-1") / "model.safetensors"
    assert f"autoquant evaluate artifact={file}" in commands


def test_settings_show_what_differs(page: Element) -> None:
    table = page.by_id("setting-table")
    assert ["budget", "[0.2x, 0.1x]", "0.15x"] in table.rows()
    assert [row.every("th")[0].text for row in table.of_class("tr", "differs")] == ["budget"]


def test_a_sweep_has_its_runs_with_their_spread(tmp_path: Path) -> None:
    runs = [run_result(4, 8, 38.0, seed=0), run_result(4, 8, 39.0, seed=1), run_result(2, 8, 45.5)]
    runs += [run_result(None, 8, 40.0, width=w, budget="0.1x") for w in (1.0, 1.5)]
    page = parse(render_page(sweep_of(tmp_path / "sweep", [*runs, run_result(3, 8, None)])))
    rows = {row[0]: row for row in page.by_id("run-table").rows()}
    assert rows["w4-a8-x1"][3] == "38.50 ± 0.71"
    assert rows["w4-a8-x1"][5] == "2"
    assert rows["w3-a8-x1"][3] == "diverged"
    best = page.by_id("results").every("table")[0].rows()[1]
    assert best[0] == "best plan of the sweep: w4-a8-x1"
    assert best[5] == "38.50 ± 0.50"
    assert len(page.by_id("front").every("svg")) > 2  # two charts, and their legends
    assert {each.text for each in page.by_id("grid").every("caption")} == {
        "width x1",
        "budget 0.1x",
    }
    points = page.by_id("front").of_class("a", "point")
    assert {each.attributes["href"] for each in points} <= {f"#plan-{i}" for i in range(5)}


def test_series_of_a_sweep_differ_in_colour_or_mark(tmp_path: Path) -> None:
    """One for each activation bits and width."""
    runs = [
        run_result(4, bits, 38.0 + bits + width, width=width)
        for bits in (2, 3, 4, 8, 16)
        for width in (1.0, 1.25, 1.5)
    ]
    page = parse(render_page(sweep_of(tmp_path / "sweep", runs)))
    marks = page.by_id("front").of_class("ul", "legend")[0].every("svg")
    drawn = [next(iter(each.all())) for each in marks]
    kinds = [(each.tag, each.attributes["class"]) for each in drawn]
    assert len(kinds) == 16  # the float model's line is the last one
    assert len(set(kinds)) == 16


# --- safety ---------------------------------------------------------------------------------------


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    network = network_of(2, HOSTILE.replace(".", ""))
    task = {"name": HOSTILE, "argument": HOSTILE}
    study = search_of(tmp_path / f"a {HOSTILE.replace('/', '')}", network, task=task)
    html = render_page(study)
    page = parse(html)
    assert {each.tag for each in page.all()} & {"img", "iframe", "link", "object"} == set()
    assert len(page.every("script")) == 1
    assert not [name for each in page.all() for name in each.attributes if name.startswith("on")]
    assert page.every("h1")[0].text == f"{HOSTILE} search"
    assert network.names[0] in [row[0] for row in page.by_id("layer-table-1").rows()]
    assert any(HOSTILE in row[1] for row in page.by_id("trial-table").rows())


def test_it_needs_nothing_beside_it(page: Element) -> None:
    links = [
        value
        for each in page.all()
        for name, value in each.attributes.items()
        if name in ("href", "src", "srcset", "action", "data", "xlink:href")
    ]
    assert all(link.startswith("#") for link in links)
    style = page.every("style")[0].text
    assert not re.search(r"url\(|@import|https?:", style)
    (policy,) = [each for each in page.every("meta") if "http-equiv" in each.attributes]
    script = "".join(str(each) for each in page.every("script")[0].children)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy.attributes["content"]
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]


def test_links_lead_to_something(page: Element) -> None:
    ids = {each.attributes.get("id") for each in page.all()}
    assert {link.attributes["href"][1:] for link in page.every("a")} <= ids


def test_the_same_study_gives_the_same_page(study: Study) -> None:
    path = write_page(study)
    assert path == study.path / "report.html"
    before = path.read_bytes()
    assert write_page(study).read_bytes() == before
    assert not list(study.path.glob(".report*"))


def test_many_layers_and_trials_stay_small(tmp_path: Path) -> None:
    network = network_of(100)
    outcomes = [
        outcome_of(network, str(i), 2 + i % 5, {100: [40.0 + i % 7]}, state="pruned")
        for i in range(1, 41)
    ]
    html = render_page(search_of(tmp_path / "deep", network, [*outcomes, *trials_of(network)[:1]]))
    assert len(html.encode()) < 1_500_000
    plan = parse(html).by_id("plan-0").every("table")[0].rows()
    assert len(plan) == 21
    assert plan[-1][0] == "80 smaller layers"


# --- studies that lack something ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("network.json", "The study has no network.json"),
        ("sensitivity.json", "The sensitivity was not measured."),
    ],
)
def test_a_missing_file_is_one_line(study: Study, tmp_path: Path, file: str, line: str) -> None:
    shutil.copytree(study.path, tmp_path / "study")
    (tmp_path / "study" / file).unlink()
    lines = missing(render_page(Study(tmp_path / "study")))
    assert [each for each in lines if each.startswith(line)]
    assert len(lines) == 1


@pytest.mark.parametrize(
    "file", ["network.json", "sensitivity.json", "jobs.csv", "applied/trial-1/result.json"]
)
def test_a_broken_file_is_one_line(study: Study, tmp_path: Path, file: str) -> None:
    shutil.copytree(study.path, tmp_path / "study")
    (tmp_path / "study" / file).write_text("{1\n2\n", encoding="utf-8")
    lines = missing(render_page(Study(tmp_path / "study")))
    assert [line for line in lines if NOTHING_MADE in line]
    assert len(lines) == 1


def test_without_a_plan_that_fits(network: Network, tmp_path: Path) -> None:
    lines = missing(render_page(search_of(tmp_path / "study", network, budget="0.01x")))
    assert "No trained plan fits the budget." in lines
    assert not [line for line in lines if NOTHING_MADE in line]


def test_where_every_trial_failed(network: Network, tmp_path: Path) -> None:
    failed = [
        outcome_of(network, "0", 3, {}, state="diverged"),
        outcome_of(network, "1", 3, {100: [math.nan]}, state="failed", reason="no memory"),
    ]
    lines = missing(render_page(search_of(tmp_path / "study", network, failed)))
    assert "No trial has a score." in lines
    assert not [line for line in lines if NOTHING_MADE in line]


def test_a_sweep_of_which_every_run_diverged(tmp_path: Path) -> None:
    lines = missing(render_page(sweep_of(tmp_path / "lost", [run_result(4, 8, None)])))
    assert "No run of the sweep is complete." in lines
    assert not [line for line in lines if NOTHING_MADE in line]


RECORDED = [
    pytest.param(path.parent, id=str(path.parent.relative_to(ROOT)))
    for path in sorted(ROOT.rglob("config.yaml"))
]
VARIED = ("stdlib-0.075x", "stdlib-0.15x", "ptb-table1")


@pytest.mark.parametrize(
    "folder",
    [
        each
        if each.id in VARIED
        else pytest.param(*each.values, id=each.id, marks=pytest.mark.slow)
        for each in RECORDED
    ],
)
def test_every_recorded_study_has_a_page(folder: Path) -> None:
    study = Study.open(folder)
    html = render_page(study)
    assert NOTHING_MADE not in html
    rows = parse(html).by_id("results").every("table")[0].rows()
    assert rows[0][1] == readable(study.baseline().size_bytes)
    if study.outcomes_file.is_file():
        data = read_study_data(study)
        assert data.chosen is not None
        chosen = next(row for row in rows if row[0].startswith("chosen plan"))
        assert f"trial {data.chosen.trial}" in chosen[0] or "w" in data.chosen.trial
    else:
        groups = {result.run.group for result in SweepTable.of(study).results()}
        assert len(parse(html).by_id("run-table").rows()) == len(groups)
