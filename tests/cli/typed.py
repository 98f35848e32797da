"""Commands within this process, and what came of them as a user sees it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from autoquant.cli.main import main

ROOT = Path(__file__).parents[2]
SIZES = ["tokens=3000", "vocabulary=60", "embedding=16", "hidden=16", "batch_size=8", "length=10"]
TASK = ["task.root=../source", "task.probe_tokens=100", *(f"task.{each}" for each in SIZES)]
RUN = ["budget=0.5x", "device=cpu", "references=[4]", "trials=1"]
BASELINE = ["baseline.steps=4", "baseline.scores=1"]
SHORT = ["qat.steps=2", "qat.scores=0", "final.steps=3", "final.scores=0"]
TINY = [*TASK, *RUN, *BASELINE, *SHORT]
RULES = ['rules={"rnn.*": {recurrent_bits: [3, 5], width: 1.0}}', "rules.decoder.weight_bits=8"]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def run(folder: Path, *arguments: str) -> Ran:
    """A command in a folder; nothing of this process is changed by it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", list(sys.argv)),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ),
    ):
        try:
            main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def refused(ran: Ran, code: int = 2) -> str:
    """The one line of an error, and nothing else."""
    assert (ran.code, ran.out) == (code, "")
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("autoquant: ")
    return lines[0].removeprefix("autoquant: ")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path in a folder; of files their bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
