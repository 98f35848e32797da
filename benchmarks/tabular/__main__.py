"""``python -m benchmarks.tabular``: record tables of trained plans, replay searches on them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.tabular.evidence import Evidence
from benchmarks.tabular.live import LiveRows, compare, live_table
from benchmarks.tabular.networks import NETWORKS
from benchmarks.tabular.peer import NETWORK, peer_table, record_peer
from benchmarks.tabular.record import PlanTrainer, record
from benchmarks.tabular.report import report
from benchmarks.tabular.strategies import STRATEGIES
from benchmarks.tabular.table import TableFolder
from studies.markdown import write_between_marks

STUDIES = Path("studies")
MARK, LIVE_MARK, PEER_MARK = "replay", "live", "peer"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command_line = argparse.ArgumentParser(
        prog="python -m benchmarks.tabular", description=__doc__.split(": ")[1]
    )
    commands = command_line.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="train the plans of a network; resumes")
    recording.add_argument("network", choices=NETWORKS)
    recording.add_argument(
        "--part", default="0/1", metavar="K/N", help="of N processes on one table the number K"
    )
    living = commands.add_parser("live", help="search and apply, beside uniform bits; resumes")
    living.add_argument("networks", nargs="*", choices=[*NETWORKS, []], metavar="network")
    living.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    living.add_argument(
        "--runs", type=Path, default=Path("runs/live"), help="folder of the studies"
    )
    peering = commands.add_parser("peer", help="uniform bits by Brevitas, after live; resumes")
    peering.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    peering.add_argument(
        "--runs", type=Path, default=Path("runs/live"), help="folder of the live searches"
    )
    replaying = commands.add_parser("replay", help="let strategies choose among recorded plans")
    replaying.add_argument("networks", nargs="*", choices=[*NETWORKS, []], metavar="network")
    replaying.add_argument("--only", default="", help="strategies with this in their name")
    replaying.add_argument("--print", action="store_true", help="print instead of writing READMEs")
    return command_line


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says.

    Args:
        arguments: of the command line; those of the process by default.
    """
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    if options.command == "record":
        folder = TableFolder(STUDIES / f"tabular-{options.network}")
        part, parts = map(int, options.part.split("/"))
        record(folder, PlanTrainer(NETWORKS[options.network], folder), part, parts)
        return
    if options.command == "live":
        for name in options.networks or NETWORKS:
            path = STUDIES / f"tabular-{name}"
            compare(NETWORKS[name], path, options.runs, range(options.seeds))
            text = live_table(LiveRows(path / "live.csv").read())
            write_between_marks(path / "README.md", LIVE_MARK, text)
        return
    if options.command == "peer":
        path = STUDIES / f"tabular-{NETWORK.name}"
        rows = record_peer(path, options.runs, range(options.seeds))
        text = peer_table(rows, LiveRows(path / "live.csv").read())
        write_between_marks(path / "README.md", PEER_MARK, text)
        return
    strategies = [strategy for strategy in STRATEGIES if options.only in strategy.name]
    for name in options.networks or NETWORKS:
        path = STUDIES / f"tabular-{name}"
        text = report(Evidence.read(path), strategies)
        if options.print:
            print(f"{name}\n\n{text}", flush=True)
        else:
            write_between_marks(path / "README.md", MARK, text)


if __name__ == "__main__":
    sys.exit(main())
