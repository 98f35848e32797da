"""The packed file where only torch, numpy, safetensors and the wheel itself are installed."""

from __future__ import annotations

from pathlib import Path

from tests.release.environment import Environment, ReleaseError

PROGRAM = """
import sys
import torch
import autoquant as aq
from autoquant.tasks.language_model import LanguageModel

words = aq.assets(sys.argv[1])["vocabulary"].decode().splitlines()
model = aq.load(sys.argv[1], LanguageModel(len(words), 32, 32))
torch.set_num_threads(1)
with torch.no_grad():
    logits, _ = model(torch.arange(12).reshape(6, 2))
print(len(words), torch.isfinite(logits).all().item(), logits.double().sum().item().hex())
"""
"""Prints numbers that differ with any bit of the logits, nearly always."""
OTHERS = ("cattrs", "hydra", "matplotlib", "optuna", "rich", "scipy", "yaml")
ABSENT = f"""
from importlib.util import find_spec
print([name for name in {OTHERS} if find_spec(name) is not None])
"""


def install(alone: Environment, wheel: Path) -> None:
    """Install the package with what loading a packed file needs.

    Args:
        alone: a new environment.
        wheel: of the package.

    Raises:
        ReleaseError: the environment has more than it should.
    """
    alone.install("torch", "numpy", "safetensors")
    alone.install("--no-deps", wheel)
    found = alone.run("python", "-c", ABSENT, cwd=wheel.parent).strip()
    if found != "[]":
        raise ReleaseError(f"the environment must have torch, numpy and safetensors, got {found}")


def check(whole: Environment, alone: Environment, packed: Path) -> None:
    """Predict in both environments, and compare.

    Args:
        whole: has the package and all that it requires.
        alone: has the package, torch, numpy and safetensors.
        packed: a packed file, with its assets beside it.

    Raises:
        ReleaseError: the outputs differ.
    """
    outputs = [
        each.run("python", "-c", PROGRAM, packed, cwd=packed.parent) for each in (whole, alone)
    ]
    if outputs[0] != outputs[1] or " True " not in outputs[0]:
        raise ReleaseError(f"both environments must predict the same numbers, got {outputs}")
