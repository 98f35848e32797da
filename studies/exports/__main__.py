"""``python -m studies.exports``: searches, applies, exports, and writes the table of README.md."""

from __future__ import annotations

import argparse
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

import autoquant as aq
from autoquant.commands.export import Exported
from autoquant.settings import Search
from benchmarks.machine import cpu_name
from studies.exports.tasks import TASKS
from studies.markdown import table_of, write_between_marks

README = Path(__file__).parent / "README.md"
FORMATS = ("onnx", "c")
TRIALS = 3


def main() -> None:
    """Run all models; searches that ran before are continued."""
    parser = argparse.ArgumentParser(prog="python -m studies.exports", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with fsdd/recordings.zip")
    parser.add_argument("--runs", type=Path, default=Path("runs/exports"), help="of the searches")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rows = []
    for name in TASKS:
        rows += _rows(name, arguments.data, arguments.runs / name.replace(" ", "-"))
        print(table_of(_HEAD, rows), flush=True)
    write_between_marks(README, "exports", f"{table_of(_HEAD, rows)}\n{_facts()}\n")


_HEAD = [
    *("model", "target", "packed bytes", "exported bytes", "of codes and scales"),
    *("score, packed", "score, target", "largest difference", "hidden codes that differ"),
]


def _rows(name: str, data: Path, study: Path) -> list[list[str]]:
    """One row for each format.

    Args:
        name: of the model.
        data: folder of the data sets.
        study: folder of its search.
    """
    build, budget = TASKS[name]
    task = build(data)
    aq.search(task, Search(budget, trials=TRIALS, threads=1), study=study)
    artifact = aq.apply(study, task).artifact
    exports = [aq.export(artifact, task, format=each, output=study / each) for each in FORMATS]
    return [[name, *_cells(export)] for export in exports]


def _cells(export: Exported) -> list[str]:
    """What is told of an export."""
    scores, difference = export.scores, export.difference
    assert scores is not None
    assert difference is not None
    stored = sum(each.bytes - each.padding for each in export.written.stored)
    share = f"{export.bytes / stored:.3f}x" if stored else ""
    codes = f"{difference.codes} of {difference.of}" if difference.of else ""
    return [
        export.format,
        f"{export.packed_bytes:,}",
        f"{export.bytes:,}",
        share,
        f"{scores.packed:.6g}",
        f"{scores.exported:.6g}",
        f"{difference.largest:.0e}",
        codes,
    ]


def _facts() -> str:
    """What the numbers depend on."""
    names = ("torch", "onnx", "onnxruntime", "onnxscript")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"Seed 0; Python {platform.python_version()}, {versions}; {cpu_name()}."


if __name__ == "__main__":
    main()
