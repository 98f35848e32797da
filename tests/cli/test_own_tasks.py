"""Tasks that a user wrote, and the digits."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from autoquant.study.folder import Study
from tests.cli.typed import BASELINE, RUN, SHORT, refused, run
from tests.test_yaml_text import LAUGHS

MODULE = """
import torch
from autoquant import Example

class Mine:
    name, metric, direction = "mine", "mse", "minimize"
    def __init__(self, hidden):
        self.hidden = hidden
        self.inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        self.targets = self.inputs[:, :2].abs()
    def build_model(self):
        layer = torch.nn.Linear
        return torch.nn.Sequential(layer(4, self.hidden), torch.nn.ReLU(), layer(self.hidden, 2))
    def steps_per_epoch(self):
        return 4
    def batches(self, seed, start=0):
        while True:
            yield self.inputs, self.targets
    def loss(self, model, batch, carry):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1]), None
    def score(self, model, split):
        return float(self.loss(model, (self.inputs, self.targets), None)[0])
    def example(self):
        return Example((self.inputs,), 64)
"""


def test_a_task_of_ones_own(tmp_path):
    (tmp_path / "mine_in_a_test.py").write_text(MODULE)
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text(
        "# @package _global_\n"
        "task: {_target_: mine_in_a_test.Mine, hidden: 24}\n"
        "widening: {max_share: 0.9, max_growth: 2}\n"
    )
    own = ["--config-dir", "conf", "task=mine"]
    ran = run(tmp_path, "search", *own, *RUN, *BASELINE, *SHORT, "budget=3x")
    assert ran.code == 0, ran.err
    assert run(tmp_path, "apply", "study=runs/mine-3x").code == 0
    (file,) = tmp_path.glob("runs/*/applied/*/model.safetensors")
    stored = json.loads((file.parent / "result.json").read_text())["test"]
    ran = run(tmp_path, "evaluate", f"artifact={file}")
    assert ran.out.startswith(f"mse {stored:.4f} on the test split")
    with_typo = run(tmp_path, "profile", "--config-dir", "conf", "task=mime")
    assert (
        refused(with_typo)
        == "task must be one of digits, mine, ptb, speech, stdlib, got 'mime' (near: mine)"
    )


PIECES = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, hidden):
        super().__init__(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 3))

def split(seed, count=64):
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)
"""

CONFIG = """
# @package _global_
task:
  _target_: autoquant.tasks.supervised.SupervisedTask
  model: {_target_: pieces_in_a_test.Net, _partial_: true, hidden: 32}
  train: {_target_: pieces_in_a_test.split, seed: 0}
  valid: {_target_: pieces_in_a_test.split, seed: 1}
  test: {_target_: pieces_in_a_test.split, seed: 2}
  loss: torch.nn.functional.cross_entropy
  score: accuracy
  batch_size: 16
rules:
  "0": {weight_bits: [4, 8], width: 1.0}
"""


def test_a_task_of_plain_pieces(tmp_path):
    """Model, data, loss and score from a folder of one's own; nothing of autoquant's to write."""
    (tmp_path / "pieces_in_a_test.py").write_text(PIECES)
    (tmp_path / "mine/task").mkdir(parents=True)
    (tmp_path / "mine/task/mine.yaml").write_text(CONFIG.lstrip())
    own = ["--config-dir", "mine", "task=mine", "task.model.hidden=24"]
    ran = run(tmp_path, "search", *own, *RUN, *BASELINE, *SHORT, "budget=4x", "study=done")
    assert ran.code == 0, ran.err
    assert {o.plan["0"].weight_bits for o in Study(tmp_path / "done").outcomes()} <= {4, 8}
    assert run(tmp_path, "apply", "study=done").code == 0
    (file,) = tmp_path.glob("done/applied/*/model.safetensors")
    stored = json.loads((file.parent / "result.json").read_text())["test"]
    ran = run(tmp_path, "evaluate", f"artifact={file}")
    assert ran.out.startswith(f"accuracy {stored:.4f} on the test split")


BAD_FILES = {
    "aliases": (LAUGHS, "more than 100000 values"),
    "depth": ("task: " + "[" * 9999, "values nested more than 50 deep"),
    "tag": ("task: !!python/object/apply:os.system [ls]", "a tag, which is not allowed"),
    "bytes": ("\udcff", "bytes that are no UTF-8 text"),
}


@pytest.mark.parametrize(("text", "reason"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_ones_own_is_read_within_bounds(text, reason, tmp_path):
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/mine.yaml").write_text(text, errors="surrogateescape")
    line = refused(run(tmp_path, "profile", "--config-dir", "conf", "task=mine"))
    assert line == f"'{tmp_path}/conf/task/mine.yaml' must be valid YAML, got {reason}"


def test_the_digits():
    pytest.importorskip("sklearn")
    sizes = ["task.hidden=24", "task.head=16", "study=done", "budget=0.5x"]
    with tempfile.TemporaryDirectory() as folder:
        ran = run(Path(folder), "search", "task=digits", *sizes, *RUN[1:], *BASELINE, *SHORT)
    assert ran.code == 0, ran.err
    assert "best plan" in ran.out
