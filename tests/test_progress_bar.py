"""Which progress bar is taken, in a terminal and in notebooks."""

from __future__ import annotations

import subprocess
import sys

import pytest

KERNEL = """
import sys, types
class ZMQInteractiveShell: pass
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")
ipython = sys.modules["IPython"] = types.ModuleType("IPython")
ipython.get_ipython = ZMQInteractiveShell
"""
WIDGETS = """
def module(name, **values):
    sys.modules[name] = made = types.ModuleType(name)
    vars(made).update(values)
module("ipywidgets", FloatProgress=int, HBox=type("HBox", (), {}), HTML=str)
module("IPython.html")
module("IPython.display", display=print)
"""
NO_WIDGETS = "sys.modules['ipywidgets'] = sys.modules['IPython.html'] = None\n"
TAKEN = """
from autoquant.progress_bar import tqdm
print([each.__module__ for each in tqdm.__mro__ if each.__module__.startswith("tqdm.n")])
with tqdm(total=2, desc="bar", disable=%s) as bar:
    bar.update()
"""


def taken(code: str, disable: bool = False) -> tuple[str, str]:
    """What a process prints: the module of a notebook's bar, and errors.

    Args:
        code: that is run before.
        disable: whether the bar is hidden.
    """
    command = [sys.executable, "-c", code + TAKEN % disable]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout.strip(), ran.stderr


@pytest.mark.parametrize("code", ["", KERNEL + NO_WIDGETS], ids=["no notebook", "no widgets"])
def test_the_terminals_bar_without_a_warning(code: str) -> None:
    out, errors = taken(code)
    assert out == "[]"
    assert "bar:" in errors
    assert "Warning" not in errors


def test_a_notebook_with_widgets_has_a_bar_of_its_own() -> None:
    assert taken(KERNEL + WIDGETS, disable=True) == ("['tqdm.notebook']", "")
