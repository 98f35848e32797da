"""``python -m benchmarks.tabular``: record tables of trained plans, replay searches on them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.tabular.networks import NETWORKS
from benchmarks.tabular.record import PlanTrainer, record
from benchmarks.tabular.table import TableFolder

STUDIES = Path("studies")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says.

    Args:
        arguments: of the command line; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tabular", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="train the plans of a network; resumes")
    recording.add_argument("network", choices=NETWORKS)
    recording.add_argument("--part", default="0/1", help="K/N: of N processes the one number K")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folder = TableFolder(STUDIES / f"tabular-{options.network}")
    part, parts = map(int, options.part.split("/"))
    record(folder, PlanTrainer(NETWORKS[options.network], folder), part, parts)


if __name__ == "__main__":
    sys.exit(main())
