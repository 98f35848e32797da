"""Studies that the tests of the page share."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.artifact.stored_space import StoredSpace
from autoquant.costs.size import size
from autoquant.files import write_text
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome, rung_means, to_csv

ROOT = Path(__file__).parents[2] / "studies"
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&"
"""A name that is harmless only where it is escaped."""
FLOAT_SCORE = 38.0


def network_of(layers: int, name: str = "encoder") -> Network:
    """A network of linear layers, two to a block.

    Args:
        layers: how many, an even number.
        name: of the outermost module.
    """
    blocks = [
        nn.Sequential(OrderedDict(project=nn.Linear(64, 64), output_projection=nn.Linear(64, 64)))
        for _ in range(layers // 2)
    ]
    model = nn.Module()
    model.add_module(name, nn.ModuleList(blocks))
    return describe(prepare(model), None)


def outcome_of(
    network: Network, trial: str, bits: int, scores: dict[int, Sequence[float]], **changes: Any
) -> Outcome:
    """An outcome of a plan whose layers alternate between two numbers of bits.

    Args:
        network: of the model.
        trial: name of the trial; that of a reference begins with "w".
        bits: of the first layer; the second has one more, and so on.
        scores: of the data orders, by steps.
        **changes: other fields of the outcome.
    """
    plan = Plan({name: LayerChoice(bits + i % 2, 8) for i, name in enumerate(network.names)})
    known = tuple((steps, i, each) for steps, of in scores.items() for i, each in enumerate(of))
    means = rung_means(known)
    outcome = Outcome(
        trial=trial,
        role="reference" if trial.startswith("w") else "search",
        plan=plan,
        size_bytes=int(size.of(network, plan, Scheme())),
        state="complete",
        score=means[-1][1] if means else None,
        steps=means[-1][0] if means else 0,
        history=means,
        scores=known,
    )
    return replace(outcome, **changes)


def baseline_of(network: Network) -> BaselineRecord:
    return BaselineRecord(
        score=FLOAT_SCORE,
        size_bytes=4 * network.parameters,
        parameters=network.parameters,
        metric="perplexity",
        direction="minimize",
        steps=300,
        seconds=9.0,
        history=((100, 80.0), (200, 50.0), (300, 41.0)),
    )


def trials_of(network: Network) -> list[Outcome]:
    """A reference, three finalists, a trial that was stopped, and one that diverged."""
    return [
        outcome_of(network, "w8", 7, {100: [38.5, 38.7]}),
        outcome_of(network, "0", 3, {100: [41.0, 41.2], 400: [39.5, 39.7]}),
        outcome_of(network, "1", 4, {100: [40.0, 40.2], 400: [38.9, 39.1]}),
        outcome_of(network, "2", 2, {100: [44.0], 400: [42.0]}),
        outcome_of(network, "3", 3, {100: [43.0]}, state="pruned", reason="not among the best"),
        outcome_of(network, "4", 4, {}, state="diverged", reason=f"loss nan in {HOSTILE}"),
    ]


def search_of(
    path: Path,
    network: Network,
    outcomes: Sequence[Outcome] | None = None,
    *,
    budget: Any = "0.2x",
    task: Any = None,
) -> Study:
    """The folder of a search, with all files that the page reads.

    Args:
        path: of the folder.
        network: of the model.
        outcomes: of its trials.
        budget: one, or a list of them.
        task: the configuration of its task.
    """
    config = {"task": task or {"name": "letters"}, "budget": budget, "quantizer": {}, "rules": {}}
    study = Study.create(path, config)
    record = baseline_of(network)
    study.write_baseline(record)
    trials = trials_of(network) if outcomes is None else outcomes
    write_text(study.outcomes_file, to_csv(trials, record.size_bytes))
    write_text(study.network_file, StoredSpace(network, ()).to_json())
    write_text(study.sensitivity_file, sensitivity_of(network).to_json())
    write_text(study.plan_file, trials[-1].plan.to_yaml())
    return study


def sensitivity_of(network: Network) -> Sensitivity:
    names = [f"{layer}.weight_bits" for layer in network.names]
    increases = {
        name: {2.0: 0.5 / (i + 1), 3.0: 0.1 / (i + 1), 4.0: 0.001} for i, name in enumerate(names)
    }
    errors = {name: {2.0: 0.001, 3.0: 0.001, 4.0: 0.01} for name in names}
    return Sensitivity(increases, errors)


def apply_trial(study: Study, outcome: Outcome, test: float) -> None:
    """Write what ``apply`` records of a trial.

    Args:
        study: of the trial.
        outcome: of the trial.
        test: its score on the test split.
    """
    folder = study.applied(f"trial-{outcome.trial}")
    folder.mkdir(parents=True)
    content = {
        "plan": outcome.plan.to_dict(),
        "valid": outcome.score,
        "test": test,
        "baseline_valid": FLOAT_SCORE,
        "baseline_test": 39.25,
        "costs": {"size_bytes": outcome.size_bytes},
        "steps": 400,
    }
    write_text(folder / "result.json", json.dumps(content))
