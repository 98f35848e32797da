"""The table of exports: which families can be exported, and how exact they are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

import autoquant as aq
from autoquant.artifact import packed_file
from autoquant.errors import RunError
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from studies.markdown import table_of
from tests.families.cycle import Fixed, without_constants
from tests.families.registry import FAMILIES, Family

FORMATS = ("onnx", "c", "torch")
CHOICE = LayerChoice(4, 8, 1.0, 4, 8)
EXACT = 1e-4
"""Largest difference of outputs, relative to the largest, that counts as exact."""


def packed(family: Family, folder: Path) -> tuple[Path, nn.Module]:
    """A packed file of a family with random weights, and a float model for it."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        return without_constants(family.build()).eval()

    model, scheme = prepare(build()).eval(), Scheme()
    network = describe(model, family.inputs())
    plan = Plan.uniform(network.names, CHOICE)
    task = Fixed(build, family.inputs())
    fake = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    path = folder / "model.safetensors"
    packed_file.save(path, fake.eval(), network, plan, scheme)
    return path, build()


def exported(family: Family, path: Path, model: nn.Module, format: str) -> str:
    """What became of an export: its difference, or the reason why there is none."""
    example = aq.Example(family.inputs(), 1)
    try:
        result = aq.export(path, model, format=format, example=example)
    except (aq.UserError, RunError) as error:
        return str(error).partition(", got ")[2][:90] or str(error)[:90]
    difference = result.difference
    if difference is None:
        return "written"
    return (
        f"{difference.largest:.0e}"
        if difference.largest <= EXACT
        else f"**{difference.largest:.0e}**"
    )


def table() -> str:
    """The table as Markdown."""
    rows = []
    for family in FAMILIES:
        if family.missing:
            rows.append([family.name, f"needs {', '.join(family.missing)}", "", ""])
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                path, model = packed(family, Path(folder))
            except Exception as error:  # a family that cannot be calibrated on its example
                rows.append([family.name, f"not packed: {error}"[:90], "", ""])
                continue
            results = [exported(family, path, model, each) for each in FORMATS]
        rows.append([family.name, *results])
    return table_of(["family", *FORMATS], rows)
