import subprocess
import sys
from pathlib import Path

from autoquant.executors.factory import new_executor
from autoquant.executors.local import LocalExecutor
from autoquant.executors.serial import SerialExecutor
from autoquant.settings import Search


def test_new_executor(tmp_path: Path) -> None:
    assert isinstance(new_executor(Search(), tmp_path), SerialExecutor)
    executor = new_executor(Search(workers=2), tmp_path)
    assert isinstance(executor, LocalExecutor)
    executor.shutdown()  # no process has started


ENGINES = ("dask", "distributed", "loky", "ray", "submitit")
SCRIPT = f"""
import sys, autoquant
from autoquant.commands.search import search
from autoquant.executors.borrowed import adapted
from autoquant.executors.ray_executor import RayExecutor
from autoquant.executors.slurm_executor import SlurmExecutor
sys.exit(", ".join(sys.modules.keys() & {ENGINES}) or 0)
"""


def test_engines_are_not_imported_before_they_are_used() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
