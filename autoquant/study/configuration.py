"""Configurations of a study: whether one may be continued with another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoquant.errors import UserError
from autoquant.settings import Search

CHANGEABLE_SETTINGS = frozenset(
    {"trials", "workers", "cluster", "device", "kernel", "tensorboard", "study", "sweep"}
)
"""Settings that may change between two runs of one study."""


def refuse_difference(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise a UserError where a study is continued with another configuration.

    Args:
        path: of the study, for errors.
        old: the configuration that the study was made with.
        new: the configuration of this call.
    """
    if "rounds" in new and not {"rounds", "sweep"} & {*old}:
        raise UserError(
            f"study '{path}' was made by an earlier version, whose searches cannot be continued; "
            "take another study folder (report and apply still read this one)"
        )
    kinds = ["a sweep" if "sweep" in config else "a search" for config in (old, new)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"study '{path}' was made by {kinds[0]}, got {kinds[1]}; take another study folder"
        )
    tasks = [config.get("task") for config in (old, new)]
    targets = {isinstance(task, Mapping) and "_target_" in task for task in tasks}
    if len(targets) == 2:  # one from Python, one from the command line: the fingerprint tells
        old, new = ({**config, "task": None} for config in (old, new))
    after = _flat(json.loads(json.dumps(new)))
    defaults = _flat(asdict(Search()))  # of settings that an earlier version did not have
    before = {key: defaults[key] for key in after if key in defaults} | _flat(old)
    for key in [*after, *before]:
        if key.split(".")[0] in CHANGEABLE_SETTINGS or before.get(key) == after.get(key):
            continue
        raise UserError(
            f"study '{path}' was made with {key}={before.get(key)}, got {key}={after.get(key)}; "
            "take that value or another study folder"
        )
    patterns = [list(config.get("rules") or ()) for config in (old, new)]
    if patterns[0] != patterns[1]:  # the same rules in another order: another one matches last
        raise UserError(
            f"study '{path}' was made with rules for {', '.join(patterns[0])}, got them in the "
            f"order {', '.join(patterns[1])}; take that order or another study folder"
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings, by their keys with dots between them."""
    if not isinstance(tree, Mapping):
        return {prefix: list(tree) if isinstance(tree, tuple) else tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
