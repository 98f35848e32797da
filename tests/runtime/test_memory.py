"""What stays in memory: packed codes, and nothing of a weight's size in floats."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from autoquant.artifact import manifest, packed_file
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from tests.quantization.native.machine import NEEDS_KERNELS, ROOT
from tests.runtime.pairs import noise, pair, weights_of
from tests.toys import described, plan_of

W4A8 = LayerChoice(4, 8)


@pytest.fixture
def since() -> Iterator[None]:
    """The collector looks only at what was made since."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def alive(*sizes: int) -> list[Tensor]:
    """Tensors that are alive and have as many numbers as one of these."""
    gc.collect()
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    return [each for each in tensors if each.numel() in sizes]


def float_count(*sizes: int) -> int:
    return sum(each.is_floating_point() for each in alive(*sizes))


BUILDS = {  # models whose weights have sizes that nothing else has, and these sizes
    "linear": (lambda: nn.Linear(211, 307), (211 * 307,), noise(3, 2, 211)),
    "embedding": (lambda: nn.Embedding(211, 307), (211 * 307,), torch.arange(210).view(105, 2)),
    "lstm": (
        lambda: nn.LSTM(101, 67, bidirectional=True),
        (4 * 67 * 101, 4 * 67 * 67),
        noise(3, 2, 101),
    ),
    "gru": (lambda: nn.GRU(101, 67), (3 * 67 * 101, 3 * 67 * 67), noise(3, 2, 101)),
    "rnn": (lambda: nn.RNN(101, 67), (67 * 101, 67 * 67), noise(3, 2, 101)),
}


@NEEDS_KERNELS
@pytest.mark.usefixtures("undecoded", "since")
@pytest.mark.parametrize("name", BUILDS)
def test_nothing_of_a_weights_size(name: str, tmp_path: Path) -> None:
    """No floats, no codes of a byte each: neither after loading nor after running.

    The search finds those of a float instance.
    """
    build, sizes, inputs = BUILDS[name]
    path, fresh = pair(tmp_path, build, W4A8, inputs).path, build()
    assert float_count(*sizes) >= len(sizes)
    loaded = packed_file.load(path, fresh)
    del fresh
    assert alive(*sizes) == []
    for _ in range(2):
        loaded(inputs)
        assert alive(*sizes) == []


class Watch(TorchDispatchMode):
    """Sizes of all float tensors that operations make, but on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor) and each.is_floating_point() and not each.is_meta:
                self.seen.add(each.numel())
        return result


@pytest.mark.parametrize("name", ["linear", "embedding"])
def test_loading_into_a_meta_instance_makes_no_floats(name: str, tmp_path: Path) -> None:
    """Of a weight's size, at any time; into a float instance it does."""
    build, sizes, inputs = BUILDS[name]
    both = pair(tmp_path, build, W4A8, inputs)
    with torch.device("meta"):
        empty = build()
    with Watch() as watch:
        loaded = packed_file.load(both.path, empty)
    assert not watch.seen & {*sizes}
    with Watch() as watch:
        packed_file.load(both.path, build())
    assert watch.seen & {*sizes}
    assert torch.equal(loaded(inputs), both.fake(inputs))


# --- in a process of its own ----------------------------------------------------------------------

UNITS, MEGA = 2048, 1e6
FLOATS = 4 * 2 * 4 * UNITS * (2 * UNITS) / MEGA  # 268 MB
PROBE = """
import gc, json, sys
import torch
from torch import nn
import autoquant

def resident():
    gc.collect()
    with open("/proc/self/status") as lines:
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kilobytes) * 1024 / 1e6

def instance(units, device):
    with torch.device(device):
        return nn.LSTM(units, units, bidirectional=True)

device, small, large, units = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
torch.set_num_threads(1)
warm = autoquant.load(small, instance(8, device))  # everything is imported, and has run
warm(torch.randn(2, 1, 8))
del warm
start = resident()
model = instance(units, device)
built = resident()
loaded = autoquant.load(large, model)
del model
after = resident()
with torch.no_grad():
    loaded(torch.randn(5, 1, units))
ran = resident()
print(json.dumps([built - start, after - start, ran - start]))
"""


def fabricated(path: Path, units: int) -> Path:
    """A file of a BiLSTM whose codes are random: quantizing one of this size takes minutes."""
    with torch.device("meta"):
        network = described(prepare(nn.LSTM(units, units, bidirectional=True)))
    plan, scheme, generator = plan_of(network, W4A8), Scheme(), torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for entry in manifest.entries(network, plan, scheme):
        values = torch.full(entry.shape, 2.0**-7)
        if entry.dtype == "U8":
            values = torch.randint(256, entry.shape, generator=generator)
        elif entry.name.endswith("quantizer"):
            values = torch.tensor([-4.0, -128.0])
        tensors[entry.name] = values.to(manifest.TORCH_TYPES[entry.dtype])
    path.write_bytes(packed_file.to_bytes(tensors, network, plan, scheme))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("memory")
    return fabricated(folder / "small", 8), fabricated(folder / "large", UNITS)


@NEEDS_KERNELS
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_resident_memory_of_a_large_bilstm(device: str, files: tuple[Path, Path]) -> None:
    """Its 67 million weights at 4 bits: within 40 MB, whatever instance was given.

    A float instance's memory is given back once it is gone. RSS is read in a fresh process that
    has loaded and run a small model before.
    """
    arguments = [device, *map(str, files), str(UNITS)]
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=300,
    )
    built, loaded, after = json.loads(ran.stdout)
    file = files[1].stat().st_size / MEGA
    print(
        f"{device}: instance {built:.1f}, loaded {loaded:.1f}, ran {after:.1f}, file {file:.1f} MB"
    )
    assert built == pytest.approx(0 if device == "meta" else FLOATS, abs=2)
    assert 0.9 * file < loaded < 40
    assert after < 40


def test_fabricated_files_are_files(tmp_path: Path) -> None:
    """What the test above measures is a model that runs."""
    loaded = packed_file.load(fabricated(tmp_path / "small", 8), nn.LSTM(8, 8, bidirectional=True))
    outputs, _ = loaded(noise(5, 2, 8))
    assert float(outputs.std()) > 0.01
    assert len(weights_of(loaded)) == 4
