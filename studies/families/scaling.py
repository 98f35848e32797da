"""Time and memory of describing a model and of building a candidate, for models of three sizes."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoquant.analysis.profile import profile_model
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Widening
from autoquant.task import Example
from autoquant.training.qat import quantize
from studies.markdown import row_of, table_of

SIZES = (1, 10, 100)
"""Millions of parameters."""
WIDTH = 1.25
"""Neuron multiplier of every group that can grow."""
STAGES = {"profile": "describe and profile", "candidate": "widen and quantize"}
Model = tuple[nn.Module, tuple[Any, ...]]
"""A module and the inputs of its forward pass."""


def mlp(millions: float) -> Model:
    """Six linear layers."""
    width = int((millions * 1e6 / 6) ** 0.5)
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(6)]
    return nn.Sequential(*layers), (torch.randn(8, width),)


def transformer(millions: float) -> Model:
    """Six layers of an encoder."""
    width = round((millions * 1e6 / 72) ** 0.5 / 8) * 8  # 6 layers of 12 width^2
    layer = nn.TransformerEncoderLayer(width, 8, 4 * width, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    return nn.Sequential(encoder, nn.Linear(width, 10)), (torch.randn(2, 16, width),)


MODELS: dict[str, Callable[[float], Model]] = {"MLP": mlp, "Transformer": transformer}


def table() -> str:
    """The table as Markdown; each line is a process of its own."""
    rows = []
    for name, stage, millions in product(MODELS, STAGES, SIZES):
        rows.append(_cells(name, stage, _in_a_process(name, stage, millions)))
        print(row_of(rows[-1]), flush=True)
    head = ["model", "parameters", "step", "CPU seconds", "peak above the model, MB"]
    return table_of([*head, "over its bytes"], rows)


def _cells(name: str, stage: str, measured: dict[str, Any]) -> list[str]:
    """A row of the table.

    Args:
        name: of the model.
        stage: what was measured, a key of STAGES.
        measured: see ``measure``.
    """
    parameters, peak = measured["parameters"], measured["peak"]
    cells = [name, f"{parameters / 1e6:.1f}M", STAGES[stage], f"{measured['seconds']:.2f}"]
    return [*cells, f"{peak / 1e6:.0f}", f"{peak / (4 * parameters):.1f}"]


def _in_a_process(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "studies.families.scaling", *map(str, arguments)]
    root = Path(__file__).parents[2]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def measure(name: str, stage: str, millions: int) -> dict[str, float]:
    """Processor seconds, peak of resident bytes above the model's, parameters; Linux only.

    Args:
        name: of the model, a key of MODELS.
        stage: what is measured, a key of STAGES.
        millions: of parameters.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _step("candidate", *MODELS[name](0.01))  # imports, and memory that the libraries keep
    model, inputs = MODELS[name](millions)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model = prepare(model).eval()
    step = _prepare_step(stage, model, inputs)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    resident, started = _resident("VmRSS"), time.process_time()
    step()
    seconds = time.process_time() - started  # of this thread: others may use the machine
    peak = _resident("VmHWM") - resident
    return {"seconds": seconds, "peak": peak, "parameters": parameters}


def _prepare_step(stage: str, model: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
    """The call that is measured; what it needs is computed before.

    Args:
        stage: a key of STAGES.
        model: prepared.
        inputs: of its forward pass.
    """
    if stage == "profile":
        example = Example(inputs, 1)
        return lambda: profile_model(model, describe(model, inputs), example, Widening())
    network = describe(model, inputs)
    plan = Plan(
        {
            name: LayerChoice(4, 8, 1.0 if network.why_fixed(name) else WIDTH)
            for name in network.names
        }
    )

    def build() -> nn.Module:
        candidate, grown = widen(model, network, WideningRequest(plan, Scheme(), "split", 0))
        quantize(candidate, grown, plan, Scheme())
        return candidate

    return build


def _step(stage: str, model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Run a step; see ``_prepare_step``."""
    _prepare_step(stage, prepare(model).eval(), inputs)()


def _resident(field: str) -> int:
    """Bytes that a line of /proc/self/status gives."""
    text = Path("/proc/self/status").read_text()
    match = re.search(rf"{field}:\s+(\d+) kB", text)
    assert match is not None
    return int(match[1]) * 1024


def main(arguments: Sequence[str]) -> None:
    """Measure one stage of one model and print the result as JSON."""
    name, stage, millions = arguments
    print(json.dumps(measure(name, stage, int(millions))))


if __name__ == "__main__":
    main(sys.argv[1:])
