"""Time and memory of looking at a model, and of building a candidate, as models get larger."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoquant.analysis.profile import profile_model
from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Widening
from autoquant.task import Example
from autoquant.training.qat import quantize

SIZES = (1, 10, 100)  # millions of parameters
WIDTH = 1.25  # of every group that can grow
STAGES = {"profile": "describe and profile", "candidate": "widen and quantize"}
Model = tuple[nn.Module, tuple[Any, ...]]


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
    lines = [
        "| model | parameters | step | CPU seconds | peak above the model, MB | over its bytes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in MODELS:
        for stage, title in STAGES.items():
            for millions in SIZES:
                found = _in_a_process(name, stage, millions)
                parameters, bytes_ = found["parameters"], 4 * found["parameters"]
                cells = [name, f"{parameters / 1e6:.1f}M", title, f"{found['seconds']:.2f}"]
                cells += [f"{found['peak'] / 1e6:.0f}", f"{found['peak'] / bytes_:.1f}"]
                lines.append(f"| {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def _in_a_process(*given: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "studies.families.scaling", *map(str, given)]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def measure(name: str, stage: str, millions: int) -> dict[str, float]:
    """Processor seconds, and the most resident bytes above the model's; Linux only."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _step("candidate", *MODELS[name](0.01))  # imports, and memory that the libraries keep
    model, inputs = MODELS[name](millions)
    parameters = sum(each.numel() for each in model.parameters())
    model = prepare(model).eval()
    step = _prepare_step(stage, model, inputs)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    held, started = _resident("VmRSS"), time.process_time()
    step()
    seconds = time.process_time() - started  # of this thread: others may use the machine
    peak = _resident("VmHWM") - held
    return {"seconds": seconds, "peak": peak, "parameters": parameters}


def _prepare_step(stage: str, model: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object]:
    """What is measured; what it needs is made before."""
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
        candidate, grown = widen(model, network, plan, Scheme(), "split", 0)
        quantize(candidate, grown, plan, Scheme())
        return candidate

    return build


def _step(stage: str, model: nn.Module, inputs: tuple[Any, ...]) -> None:
    _prepare_step(stage, prepare(model).eval(), inputs)()


def _resident(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


def main(given: Sequence[str]) -> None:
    """Measure what is named and print it as JSON."""
    name, stage, millions = given
    print(json.dumps(measure(name, stage, int(millions))))


if __name__ == "__main__":
    main(sys.argv[1:])
