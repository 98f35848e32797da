from __future__ import annotations

import shlex

import pytest

from autoquant.cli.overrides import to_overrides
from autoquant.report_page.next_commands import after_sweep, command
from autoquant.study.folder import Study


@pytest.mark.parametrize("path", ["runs/plain", "/tmp/my study", "it's", "a;rm -rf b", "$HOME/`x`"])
def test_a_shell_and_the_command_line_read_the_path_as_it_is(path: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    program, name, argument = shlex.split(command("report", study=path))
    assert (program, name, argument) == ("autoquant", "report", f"study={path}")
    (override,) = to_overrides([argument])
    assert str(OverridesParser.create().parse_override(override).value()) == path


def test_a_sweep_without_a_score_has_nothing_to_apply() -> None:
    assert after_sweep(Study("runs/lost"), None, ()) == ()


def test_a_sweep_applies_its_best_run() -> None:
    texts = [each.text for each in after_sweep(Study("runs/grid"), "w4-a8-x1-seed0", ())]
    file = "artifact=runs/grid/applied/trial-w4-a8-x1-seed0/model.safetensors"
    assert texts == [
        "autoquant apply study=runs/grid trial=w4-a8-x1-seed0",
        f"autoquant evaluate {file}",
        f"autoquant export {file} format=onnx",
        f"autoquant export {file} format=c",
    ]
