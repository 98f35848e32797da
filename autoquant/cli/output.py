"""What commands print when they are done: the tables of results, files and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autoquant.table import Column, Table

if TYPE_CHECKING:
    from autoquant.analysis.profile import LayerProfile, Profile
    from autoquant.commands.apply import Applied
    from autoquant.commands.search import SearchResult
    from autoquant.commands.solve import Solution
    from autoquant.commands.sweep import SweepResult
    from autoquant.space.layer_overrides import LayerOverride, LayerOverrides


def print_profile(profile: Profile, overrides: LayerOverrides | None = None) -> None:
    """Print the layers, whether each may grow and the reason, and the choices of the rules.

    Args:
        profile: of the model.
        overrides: choices that the rules give to layers.
    """
    rules = overrides or {}
    layers = tuple(_with_rule(layer, rules.get(layer.name, {})) for layer in profile.layers)
    print(replace(profile, layers=layers))
    table = _rule_table(profile, rules)
    if table.rows:
        print(f"\n{table}")


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


def print_next_apply(study: str, solution: Solution, plan: str | None) -> None:
    """Print the command that trains a solution, where it can be named.

    Args:
        study: the folder that it was found from.
        solution: of the study.
        plan: the file that it was written to, if any.
    """
    named = None if solution.trial is None else _argument("trial", solution.trial)
    named = named if plan is None else _argument("plan", plan)
    if named is not None:
        print(f"next: autoquant apply {_argument('study', study)} {named}")


def print_search(result: SearchResult, *, tensorboard: bool = False) -> None:
    """Print what a search found, the file of its plan and the next command.

    Args:
        result: of the search.
        tensorboard: whether it wrote logs for TensorBoard.
    """
    print(result)
    if result.best is not None:
        print(f"\nplan: {result.study.plan_file}")
        print(f"next: autoquant apply {_argument('study', result.study.path)}")
    if tensorboard:
        _print_logs(result.study.tensorboard)


def print_sweep(result: SweepResult, *, tensorboard: bool = False) -> None:
    """Print the runs of a sweep, the file of its table and the next command.

    Args:
        result: of the sweep.
        tensorboard: whether it wrote logs for TensorBoard.
    """
    print(f"{result}\n\ntable: {result.study.runs_file}")
    if result.best is not None:
        trial = shlex.quote(f"trial={result.best.run.name}")
        print(f"next:  autoquant apply {_argument('study', result.study.path)} {trial}")
    if tensorboard:
        _print_logs(result.study.tensorboard)


def print_applied(applied: Applied, *, logs: Path | None = None) -> None:
    """Print scores and costs of the packed plan next to those of the float model.

    Args:
        applied: the plan, trained and packed.
        logs: folder of the logs for TensorBoard, where they were written.
    """
    print(f"{applied}\n")
    print(f"next: autoquant evaluate {_argument('artifact', applied.artifact)}")
    if logs is not None:
        _print_logs(logs)


def _print_logs(folder: Path) -> None:
    """Print the command that shows losses and scores in a browser."""
    print(f"logs: tensorboard --logdir {shlex.quote(str(folder))}")


def _argument(key: str, path: object) -> str:
    """``key=path``, quoted for a shell."""
    return shlex.quote(f"{key}={path}")
