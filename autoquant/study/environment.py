"""Environment: what the result of a job depends on, beside the study and the job itself."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from autoquant.quantization import native


@dataclass(frozen=True)
class Environment:
    """Where a job was trained: with the same of all four, its result is the same to the last bit.

    Attributes:
        threads: of torch.
        instruction_set: of torch's kernels and, where they were built, of autoquant's, as in
            "AVX512+avx512"; of an accelerator its name.
        device: its type, such as "cpu" or "cuda".
        torch: its version.
    """

    threads: int
    instruction_set: str
    device: str
    torch: str

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{threads}, {self.instruction_set}, {self.device}, torch {self.torch}"

    def differences(self, other: Environment) -> tuple[str, ...]:
        """The parts in which another one differs, as in "threads 2, not 1".

        Args:
            other: of which the values are named first.
        """
        pairs = {
            field.name.replace("_", " "): (getattr(other, field.name), getattr(self, field.name))
            for field in fields(self)
        }
        return tuple(f"{name} {new}, not {old}" for name, (new, old) in pairs.items() if new != old)


def current_environment(device: torch.device) -> Environment:
    """That of trainings in this process, at its current number of threads.

    Args:
        device: on which they run.
    """
    return Environment(
        torch.get_num_threads(), _instruction_set(device), device.type, torch.__version__
    )


def _instruction_set(device: torch.device) -> str:
    """What a device computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kernels = f"+{native.instruction_set()}" if native.available() else ""
    return f"{torch.backends.cpu.get_cpu_capability()}{kernels}"
