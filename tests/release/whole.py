"""The installed package with all that it requires: the commands, in a folder without a checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.release.environment import Environment, ReleaseError

ROOT = Path(__file__).parents[2]
EXTRAS = ("digits", "onnx", "speech", "tensorboard")
"""What users install besides."""
TASK = [f"task.{each}" for each in ("tokens=4000", "vocabulary=400", "embedding=32", "hidden=32")]
SEARCH = [*TASK, "budget=0.5x", "trials=1", "references=[4]", "device=cpu", "study=small"]
SEARCH += ["baseline.steps=10", "baseline.scores=1", "qat.steps=4", "final.steps=4"]
INSTALLED = """
import autoquant
from autoquant.quantization import native
print(autoquant.__file__, native.available(), sep="\\n")
"""


def check_extras(environment: Environment, wheel: Path) -> None:
    """Let pip resolve all extras together.

    Args:
        environment: with the package.
        wheel: of the package.

    Raises:
        ReleaseError: an extra cannot be installed with the others.
    """
    environment.install("--dry-run", f"{wheel}[{','.join(EXTRAS)}]")


def run_commands(environment: Environment, folder: Path) -> Path:
    """Search, apply, evaluate and export, each with its defaults as far as time allows.

    Args:
        environment: with the package and its requirements.
        folder: made for what the commands write.

    Returns:
        the packed file.

    Raises:
        ReleaseError: a command fails, or does not do what it says.
    """
    folder.mkdir()
    file, kernels = environment.run("python", "-c", INSTALLED, cwd=folder).splitlines()
    if not file.startswith(str(environment.folder)):
        raise ReleaseError(f"autoquant must be imported from the environment, got {file}")
    if kernels != "True":
        raise ReleaseError("the wheel must bring the C kernels, got none (is there a compiler?)")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = environment.run("autoquant", "--version", cwd=folder).strip()
    if version != project["version"]:
        raise ReleaseError(f"--version must print {project['version']}, got {version}")
    environment.run("autoquant", "search", *SEARCH, cwd=folder)
    environment.run("autoquant", "apply", "study=small", cwd=folder)
    (packed,) = folder.glob("small/applied/*/model.safetensors")
    scores = environment.run("autoquant", "evaluate", f"artifact={packed}", cwd=folder)
    if "perplexity" not in scores:
        raise ReleaseError(f"evaluate must print the perplexity, got {scores!r}")
    export = ["export", f"artifact={packed}", "format=c", "split=none", "output=c"]
    environment.run("autoquant", *export, cwd=folder)
    if not [*folder.glob("c/*.c")]:
        raise ReleaseError("export format=c must write C files, got none")
    return packed
