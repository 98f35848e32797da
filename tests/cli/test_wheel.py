"""The package as it is installed."""

from __future__ import annotations

import zipfile

import pytest

from tests.cli.installed import build_wheel, copy_sources, install, run_installed
from tests.cli.typed import SIZES


@pytest.mark.slow
def test_the_wheel_brings_its_configuration(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    wheel = build_wheel(copy_sources(source), tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    assert "autoquant/conf/task/stdlib.yaml" in names
    assert "autoquant/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "conf", "benchmarks"))]

    site = install(wheel, tmp_path / "venv")
    code = (
        "import autoquant; print(autoquant.__file__); from autoquant.cli.main import main; main()"
    )
    ran = run_installed(tmp_path / "venv", code, "profile", *(f"task.{size}" for size in SIZES))
    assert ran.stdout.startswith(str(site))
    assert "rnn.l0" in ran.stdout
