"""``python -m benchmarks [rounds]``: print every ratio, its quartiles, machine and versions."""

from __future__ import annotations

import sys

import torch

from benchmarks.qat_step import variants
from benchmarks.timing import compare, machine

MODELS = {
    "language model, 10,000 words, LSTM 300": (10_000, 300, "lstm"),
    "language model, 10,000 words, GRU 300": (10_000, 300, "gru"),
    "language model, 4,000 words, LSTM 128": (4_000, 128, "lstm"),
}


def main() -> None:
    """Run every comparison on one thread."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.set_num_threads(1)
    print(machine())
    for title, (vocabulary, units, cell) in MODELS.items():
        print(f"\n{title}; batch 20, 35 steps; time of a training step over the float model's")
        for ratio in compare(variants(vocabulary, units, cell), rounds):
            print(f"  {ratio.name:<46} {ratio.median:5.2f}  ({ratio.low:.2f} - {ratio.high:.2f})")


if __name__ == "__main__":
    main()
