"""Outcomes, studies and profiles that the tests of the figures share."""

from itertools import combinations

import pytest

from autoquant.analysis.coverage import Coverage
from autoquant.analysis.profile import GrowthCost, LayerProfile, Profile
from autoquant.figures.study_data import SizeBudget, StudyData
from autoquant.files import write_text
from autoquant.plan import LayerChoice, Plan
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome, rung_means, to_csv
from autoquant.study.sweep_table import SweepRun, SweepRunResult
from autoquant.study.sweep_table import to_csv as runs_to_csv

FLOAT_BYTES = 2_400_000
LAYERS = ("encoder", "rnn.l0", "decoder")
BASELINE = BaselineRecord(
    score=38.0,
    size_bytes=FLOAT_BYTES,
    parameters=600_000,
    metric="perplexity",
    direction="minimize",
    steps=300,
    seconds=9.0,
    history=((100, 80.0), (200, 50.0), (300, 41.0)),
)
COVERAGE = Coverage(1.0, 0.0, 0, 0, ())
PLAN = Plan(
    {
        "encoder": LayerChoice(4, 32),
        "rnn.l0": LayerChoice(3, 8, 1.5, recurrent_bits=2, hidden_bits=4),
        "decoder": LayerChoice(16, 6),
    }
)


def trial(number, share, score, state="complete", plan=PLAN):
    return Outcome(str(number), "search", plan, int(share * FLOAT_BYTES), state, score)


def uniform(bits, score):
    plan = Plan.uniform(LAYERS, LayerChoice(bits, 8))
    return Outcome(f"w{bits}", "reference", plan, bits * FLOAT_BYTES // 32, "complete", score)


def on_rungs(trial, share, scores, state="complete"):
    """An outcome with scores by steps: a list of those of the data orders 0, 1, 2."""
    known = tuple(
        (at, i, score) for at, of_rung in scores.items() for i, score in enumerate(of_rung)
    )
    role = "reference" if trial.startswith("w") else "search"
    means = rung_means(known)
    steps, score = means[-1] if means else (0, None)
    size = int(share * FLOAT_BYTES)
    equal = role == "reference"
    plan = Plan.uniform(LAYERS, LayerChoice(int(trial[1:]), 8)) if equal else PLAN
    return Outcome(trial, role, plan, size, state, score, steps, history=means, scores=known)


REFERENCES = [uniform(8, 38.1), uniform(4, 38.6), uniform(3, 40.0), uniform(2, 47.0)]
TRIALS = [
    trial(0, 0.110, 41.0),
    trial(1, 0.120, 39.0),
    trial(2, 0.118, 45.0, "pruned"),
    trial(3, 0.119, None, "diverged"),
    trial(4, 0.124, 39.4),
]
RUNG_REFERENCES = [
    on_rungs("w8", 0.25, {100: [38.1, 38.3, 37.9]}),
    on_rungs("w3", 0.1, {100: [40.9]}),
]
RUNG_TRIALS = [  # with a standard deviation of 0.2 over data orders, on the rungs that have several
    on_rungs("0", 0.12, {100: [41.0, 41.2, 40.8], 400: [40.0], 1200: [39.0, 39.2, 38.8]}),
    on_rungs("1", 0.1, {100: [42.0]}, "pruned"),
    on_rungs("2", 0.11, {100: [41.5], 400: [40.5]}, "pruned"),
    on_rungs("3", 0.118, {100: [41.1], 400: [39.8], 1200: [37.9, 37.7, 38.1]}),
    on_rungs("4", 0.119, {}, "diverged"),
    on_rungs("5", 0.08, {100: [43.0], 400: [41.5], 1200: [40.0]}),
]
INFEASIBLE = [  # in none of them does a trained plan fit the budget
    pytest.param([trial(0, 0.1, None, "diverged")], id="all diverged"),
    pytest.param([trial(0, 0.1, float("nan")), trial(1, 0.1, float("inf"))], id="not finite"),
    pytest.param([trial(0, 0.1, 50.0, "interrupted")], id="interrupted"),
    pytest.param([trial(0, 0.5, 38.0)], id="over the budget"),
]


def study_data(outcomes, budget=0.124, baseline=BASELINE, bound=None):
    """What figures are drawn from; ``budget`` may be several shares, the largest first."""
    shares = budget if isinstance(budget, tuple) else (budget,)
    budgets = tuple(SizeBudget(f"{share}x", int(share * FLOAT_BYTES)) for share in shares)
    return StudyData(baseline, tuple(outcomes), budgets, bound)


def study_of(path, outcomes, baseline=BASELINE, budget="0.124x", layers=()):
    study = Study.create(path, {"budget": budget})
    study.write_baseline(baseline)
    write_text(study.outcomes_file, to_csv(outcomes, FLOAT_BYTES))
    if layers:
        write_profile(study.profile_file, layers)
    return study


def run_result(
    bits, activations, valid, *, width=1.0, seed=0, budget=None, name=None, init_from="baseline"
):
    """A run of a sweep; without a score it diverged."""
    first = budget or f"w{bits}"
    name = name or f"{first}-a{activations}-x{width:g}"
    name += "-scratch" if init_from == "scratch" else ""
    grid = {"weight_bits": bits, "activation_bits": activations, "budget": budget}
    grid["width"] = None if activations is None else width
    share = (bits or 4) / 32 * width
    plan = Plan.uniform(LAYERS, LayerChoice(bits, activations)) if bits else PLAN
    return SweepRunResult(
        SweepRun(f"{name}-seed{seed}", plan, seed, init_from, **grid),
        "diverged" if valid is None else "complete",
        valid=valid,
        size_bytes=int(share * FLOAT_BYTES),
        size_share=share,
    )


def sweep_of(path, results, baseline=BASELINE):
    study = Study.create(path, {"sweep": {}})
    study.write_baseline(baseline)
    write_text(study.runs_file, runs_to_csv(results))
    return study


def profiled(name, share, widths=(1.25, 1.5, 2.0), widenable=False):
    return LayerProfile(
        name=name,
        kind="linear",
        shape="4 -> 4",
        parameters=int(share * 600_000),
        share=share,
        macs=1,
        growth=tuple(GrowthCost(width, 1, share * (width - 1)) for width in widths),
        widenable=widenable,
        reason="small" if widenable else "feeds the model's output",
    )


def write_profile(path, layers):
    path.write_text(Profile(tuple(layers), 600_000, "token", COVERAGE).to_json())
    return path


def texts(figure):
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    inside = [text for axes in figure.axes for text in (*axes.texts, axes.title)]
    return [*(text.get_text() for text in (*legends, *inside)), figure.get_suptitle()]


def overlapping(figure):
    """Pairs of texts whose boxes overlap, in a figure that was drawn: names, ticks, legend, ..."""
    shown = [text for text in texts_of(figure) if text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in shown]
    return [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]


def texts_of(figure):
    """All texts that are drawn; of ticks those between the ends of their axis."""
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    every = [*figure.texts, *legends]
    for axes in figure.axes:
        for each in (axes, *axes.child_axes):
            every += [*each.texts, each.title]
            for axis in (each.xaxis, each.yaxis):
                every += [axis.label, *_tick_labels(axis)]
    return every


def _tick_labels(axis):
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible()]
