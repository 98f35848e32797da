"""Packed files are loaded and run where only torch, numpy and safetensors are installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import torch

import autoquant as aq
from autoquant.artifact.assets import write_assets
from tests.cli.typed import ROOT
from tests.exports.models import packed

NEEDED = {"torch", "numpy", "safetensors"}
EXTRAS = ("digits", "speech", "onnx", "tensorboard")
NAMES = ("language", "language gru", "both ways", "convolutions", "encoder", "cell loop")
PROGRAM = """
import sys
from tests.alone import refuse_others

refuse_others()
import torch
import autoquant as aq
from autoquant.tasks.language_model import LanguageModel
from tests.exports import networks

BUILDS = {
    "language": lambda: LanguageModel(50, 24, 24, 2, 0.0, "lstm"),
    "language gru": lambda: LanguageModel(50, 20, 24, 1, 0.0, "gru"),
    "both ways": lambda: networks.Spotter(bidirectional=True),
    "convolutions": networks.Convolutions,
    "encoder": networks.Encoder,
    "cell loop": networks.CellLoop,
}


def first(output):
    return output if isinstance(output, torch.Tensor) else output[0]


for name, (path, inputs, expected, floats) in torch.load(sys.argv[1]).items():
    model = aq.load(path, BUILDS[name]())
    with torch.no_grad():
        assert torch.equal(first(model(inputs)), expected), name
        assert torch.equal(first(aq.dequantized(model)(inputs)), floats), name
    print(name, aq.assets(path)["name"].decode(), sep="=")
"""
"""Refuses to import anything else; compares each model with what a file holds."""


def first(output: Any) -> Any:
    return output if isinstance(output, torch.Tensor) else output[0]


def plain(distribution: str) -> str:
    """The name of a distribution as the index compares it."""
    return distribution.lower().replace("_", "-")


def test_models_run_and_equal_the_trained_ones(tmp_path: Path) -> None:
    calls = {}
    for name in NAMES:
        made = packed(tmp_path / name, name)
        write_assets(made.path.parent, {"name": name.upper().encode()})
        (inputs,) = made.example.inputs
        with torch.no_grad():
            expected = first(made.pair.fake(inputs))
            floats = first(aq.dequantized(made.pair.loaded)(inputs))
        calls[name] = (str(made.path), inputs, expected, floats)
    torch.save(calls, tmp_path / "calls")
    arguments = [tmp_path / "calls"]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [f"{name}={name.upper()}" for name in NAMES]


def test_the_import_rule_names_all_other_requirements() -> None:
    """What ``make lint`` forbids on the way to a loaded model: all that users install besides."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = content["tool"]["importlinter"]["contracts"]
    (rule,) = [each for each in contracts if each["id"] == "loading"]
    project = content["project"]
    listed = [project["optional-dependencies"][extra] for extra in EXTRAS]
    texts = [*project["dependencies"], *(text for extra in listed for text in extra)]
    required = {plain(re.split(r"[^\w-]", text)[0]) for text in texts} - NEEDED
    installed = packages_distributions()
    named = {plain(dist) for each in rule["forbidden_modules"] for dist in installed[each]}
    assert required <= named
