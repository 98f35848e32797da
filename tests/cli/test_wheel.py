"""The package as it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.cli.typed import ROOT, SIZES


@pytest.mark.slow
def test_the_wheel_brings_its_configuration(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("autoquant", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "autoquant/conf/task/stdlib.yaml" in names
    assert "autoquant/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "conf", "benchmarks"))]

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*install, wheel], check=True)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(packages))  # found after the wheel's own
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "import autoquant; print(autoquant.__file__); from autoquant.cli.main import main; main()"
    )
    command = [
        tmp_path / "venv/bin/python",
        "-c",
        code,
        "profile",
        *(f"task.{each}" for each in SIZES),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(site))
    assert "rnn.l0" in ran.stdout
    assert not list(empty.iterdir())
