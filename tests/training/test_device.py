from __future__ import annotations

import pytest
import torch

from autoquant.errors import UserError
from autoquant.training.device import resolve_device


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("meta:1") == torch.device("meta", 1)


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert resolve_device("auto") == torch.device("cuda")


def test_a_device_that_is_not_there_names_those_that_are(monkeypatch):
    monkeypatch.setattr("autoquant.training.device._accelerators", lambda: ["cuda", "cuda:0"])
    line = r"torch has here \(auto, cpu, cuda, cuda:0\), got 'cuda:7'"
    with pytest.raises(UserError, match=line):
        resolve_device("cuda:7")
