"""What commands tell when they are done: results as text and as plain values, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoquant.cli.answer import Answer
from autoquant.plain_values import plain_values
from autoquant.table import Column, Table

if TYPE_CHECKING:
    from autoquant.analysis.profile import LayerProfile, Profile
    from autoquant.applying.applied import Applied
    from autoquant.commands.search import SearchResult
    from autoquant.commands.solve import Solution
    from autoquant.commands.sweep import SweepResult
    from autoquant.space.layer_overrides import LayerOverride, LayerOverrides

FIELDS = {"next": "next: ", "dashboard": "dashboard: ", "logs": "logs: "}
"""Commands that an answer names, by their keys in its values, and what stands before them."""


def profile_answer(
    profile: Profile, overrides: LayerOverrides | None = None, notes: Sequence[str] = ()
) -> Answer:
    """The layers, whether each may grow and the reason, and the choices of the rules.

    Args:
        profile: of the model.
        overrides: choices that the rules give to layers.
        notes: lines about the task, which have been printed.
    """
    rules = overrides or {}
    layers = tuple(_with_rule(layer, rules.get(layer.name, {})) for layer in profile.layers)
    ruled = replace(profile, layers=layers)
    table = _rule_table(profile, rules)
    values = {
        **ruled.to_dict(),
        "rules": [
            {"layer": name, "setting": field, "choices": each.choices, "pattern": each.pattern}
            for name, fields in rules.items()
            for field, each in fields.items()
        ],
        "notes": notes,
    }
    return Answer(f"{ruled}\n\n{table}" if table.rows else f"{ruled}", plain_values(values))


def _with_rule(layer: LayerProfile, overrides: Mapping[str, LayerOverride]) -> LayerProfile:
    """A layer's profile where a rule may decide whether it grows.

    Args:
        layer: of the profile.
        overrides: choices that rules give to it, by field.
    """
    from autoquant.space.layer_overrides import NO_GROWTH

    if "width" not in overrides:
        return layer
    rule = overrides["width"]
    reason = f"rules.{rule.pattern}.width"
    return replace(layer, widenable=rule.choices != NO_GROWTH, reason=reason)


def _rule_table(profile: Profile, overrides: LayerOverrides) -> Table:
    """A row for each choice of a rule."""
    rows = (
        (
            layer.name,
            field,
            ", ".join(f"{value:g}" for value in override.choices),
            f"rules.{override.pattern}",
        )
        for layer in profile.layers
        for field, override in overrides.get(layer.name, {}).items()
    )
    headings = ("layer", "setting", "choices", "rule")
    columns = tuple(Column(heading, "left") for heading in headings)
    return Table("choices by rules", columns, tuple(rows))


def solve_answer(study: str, solution: Solution, plan: str | None) -> Answer:
    """A solution, its file, and the command that trains it, where that can be named.

    Args:
        study: the folder that it was found from.
        solution: of the study.
        plan: the file that it was written to, if any.
    """
    named = None if solution.trial is None else _argument("trial", solution.trial)
    named = named if plan is None else _argument("plan", plan)
    command = f"autoquant apply {_argument('study', study)} {named}"
    if named is None:  # the plan is of no trial, and in no file yet
        budget = _argument("budget", f"{solution.budget_bytes}B")
        command = f"autoquant solve {_argument('study', study)} {budget} output=plan.yaml"
    text = f"{solution}" if plan is None else f"{solution}\n\nplan: {plan}"
    return _answer(text, solution.to_dict() | {"plan_file": plan}, next=command)


def search_answer(
    result: SearchResult, *, tensorboard: bool = False, failure: str | None = None
) -> Answer:
    """What a search found, the file of its plan and the commands that go on from it.

    Args:
        result: of the search.
        tensorboard: whether it wrote logs for TensorBoard.
        failure: why it failed.
    """
    study, found = result.study, result.best is not None
    text = f"{result}\n\nplan: {study.plan_file}" if found else f"{result}"
    values = result.to_dict() | {"plan_file": str(study.plan_file) if found else None}
    return _answer(
        text,
        values,
        failure,
        next=f"autoquant apply {_argument('study', study.path)}" if found else None,
        dashboard=_dashboard(study.journal_file),
        logs=_logs(study.tensorboard) if tensorboard else None,
    )


def sweep_answer(
    result: SweepResult, *, tensorboard: bool = False, failure: str | None = None
) -> Answer:
    """The runs of a sweep, the file of its table and the next command.

    Args:
        result: of the sweep.
        tensorboard: whether it wrote logs for TensorBoard.
        failure: why it failed.
    """
    study, best = result.study, result.best
    command = None
    if best is not None:
        trial = _argument("trial", best.run.name)
        command = f"autoquant apply {_argument('study', study.path)} {trial}"
    return _answer(
        f"{result}\n\ntable: {study.runs_file}",
        result.to_dict() | {"table": str(study.runs_file)},
        failure,
        next=command,
        logs=_logs(study.tensorboard) if tensorboard else None,
    )


def apply_answer(applied: Applied, *, logs: Path | None = None) -> Answer:
    """Scores and costs of the packed plan next to those of the float model.

    Args:
        applied: the plan, trained and packed.
        logs: folder of the logs for TensorBoard, where they were written.
    """
    return _answer(
        f"{applied}\n",
        applied.to_dict(),
        next=f"autoquant evaluate {_argument('artifact', applied.artifact)}",
        logs=None if logs is None else _logs(logs),
    )


def _answer(
    text: str, values: Mapping[str, Any], failure: str | None = None, **commands: str | None
) -> Answer:
    """An answer that names commands.

    Args:
        text: of the result.
        values: of the result.
        failure: why the command failed.
        commands: by their keys in the values; those that are None are left out of the text.
    """
    lines = [f"{FIELDS[key]}{command}" for key, command in commands.items() if command is not None]
    return Answer("\n".join([text, *lines]), {**values, **commands}, failure)


def _dashboard(journal: Path) -> str:
    """The command that shows trials in a browser; it takes "redis..." for a server's address."""
    path = str(journal)
    path = f"./{path}" if path.startswith(("redis", "-")) else path
    return f"optuna-dashboard {shlex.quote(path)}"


def _logs(folder: Path) -> str:
    """The command that shows losses and scores in a browser."""
    return f"tensorboard --logdir {shlex.quote(str(folder))}"


def _argument(key: str, path: object) -> str:
    """``key=path``, quoted for a shell."""
    return shlex.quote(f"{key}={path}")
