"""A search on every engine finds what one process finds, whatever dies meanwhile."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoquant.commands.search import search
from autoquant.commands.sweep import sweep
from autoquant.executors.local import LocalExecutor
from autoquant.executors.slurm_executor import SlurmExecutor
from autoquant.settings import Cluster, Rounds, Search, Space, Sweep, Training
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome
from tests.toys import language_task

SETTINGS = Search(
    budget="0.6x",
    trials=6,
    threads=1,
    device="cpu",
    sensitivity=0,
    references=(2,),
    baseline=Training(steps=3, scores=1),
    qat=Training(steps=5, scores=1),
    final=Training(steps=30, scores=1),
    rounds=Rounds(
        size=2, overlap=True, orders=2, medium=2.0, promoted=0.5, finalists=2, spread=0.0
    ),
    space=Space(width=(1.0,)),
    sampler="random",
)
ROOT = Path(__file__).parents[2]


def toy() -> Any:
    return language_task(10, 400, batch_size=50, length=4, embedding=4, hidden=8, probe_tokens=50)


def found(folder: Path, settings: Search = SETTINGS, **options: Any) -> list[Outcome]:
    result = search(toy(), settings, study=folder, progress=False, **options)
    return [replace(outcome, seconds=0.0) for outcome in result.outcomes]


def trunks(folder: Path) -> list[str]:
    return sorted(path.name for path in Study(folder).trunks.glob("*"))


def hosts(folder: Path) -> list[str]:
    with Study(folder).jobs_file.open(encoding="utf-8", newline="") as file:
        return [row["host"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    found(folder)
    return folder


@pytest.fixture(scope="module")
def expected(serial: Path) -> list[Outcome]:
    return found(serial)


def test_processes(serial: Path, expected: list[Outcome], tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        assert found(tmp_path, executor=executor) == expected
        assert executor.submit(os.getpid).result() != os.getpid()  # it stays open
    assert trunks(tmp_path) == trunks(serial)
    assert all(hosts(tmp_path))


def test_a_shared_folder_has_the_checkpoints(
    serial: Path, expected: list[Outcome], tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    seen = set[str]()
    executor = LocalExecutor(1, 1)

    def look(outcome: Outcome) -> None:
        seen.update(path.suffix for path in shared.glob("*/trunks/*"))

    settings = SETTINGS.changed(cluster=Cluster(folder=str(shared)))
    assert found(tmp_path / "study", settings, executor=executor, on_trial=look) == expected
    executor.shutdown()
    assert ".checkpoint" in seen
    assert not [*shared.iterdir()]
    assert trunks(tmp_path / "study") == trunks(serial)


# --- Ray: two nodes of one machine ---------------------------------------------------------------

SCRIPT = """
import sys
from autoquant.settings import Cluster
from tests.commands.test_engines import SETTINGS, found
found(sys.argv[1], SETTINGS.changed(cluster=Cluster(engine="ray", address=sys.argv[2])))
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    resources = {"num_cpus": 1, "object_store_memory": 100_000_000}
    head = {**resources, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    nodes.add_node(**resources)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def on_ray(nodes: Any) -> Search:
    return SETTINGS.changed(cluster=Cluster(engine="ray", address=nodes.address))


@pytest.mark.cluster
def test_a_driver_that_dies_loses_nothing(
    on_ray: Search, nodes: Any, serial: Path, expected: list[Outcome], tmp_path: Path
) -> None:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), nodes.address]
    driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, cwd=ROOT)
    deadline = time.monotonic() + 60
    log = Study(tmp_path).jobs_file
    while not log.is_file() or len(log.read_text().splitlines()) < 5:
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = log.read_text().splitlines()
    assert found(tmp_path, on_ray) == expected
    assert log.read_text().splitlines()[: len(before)] == before
    assert len(hosts(tmp_path)) == len(hosts(serial))  # no training ran twice
    assert trunks(tmp_path) == trunks(serial)


@pytest.mark.cluster
def test_a_node_that_dies_changes_nothing(
    on_ray: Search, nodes: Any, serial: Path, expected: list[Outcome], tmp_path: Path
) -> None:
    node = nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
    killed: list[str] = []

    def kill(outcome: Outcome) -> None:
        if not killed:
            killed.append(outcome.trial)
            nodes.remove_node(node, allow_graceful=False)

    assert found(tmp_path, on_ray, on_trial=kill) == expected
    assert killed
    assert trunks(tmp_path) == trunks(serial)


@pytest.mark.cluster
def test_a_sweep_brings_its_files_home(on_ray: Search, tmp_path: Path) -> None:
    grid = Sweep(weight_bits=(2, 4), seeds=(0,), save=True)
    scores = []
    for name, settings in (("here", SETTINGS), ("ray", on_ray)):
        result = sweep(toy(), settings, sweep=grid, study=tmp_path / name, progress=False)
        files = {p.name: p.read_bytes() for p in (tmp_path / name / "packed").glob("*.safetensors")}
        scores.append(([r.valid for r in result.results], files))
    assert scores[0] == scores[1]
    assert len(scores[0][1]) >= 2


@pytest.mark.cluster
def test_the_command_line_reaches_the_cluster(nodes: Any, tmp_path: Path) -> None:
    short = ["trials=1", "references=[]", "sensitivity=0", "qat.steps=2", "final.steps=2"]
    short += ["task.tokens=4000", "task.vocabulary=200", "task.hidden=16", "task.embedding=16"]
    command = [sys.executable, "-m", "autoquant", "search", "cluster=ray", "--json", *short]
    command += [f"cluster.address={nodes.address}", "baseline.steps=2", "budget=0.5x"]
    command += ["rounds.orders=1", f"study={tmp_path / 'study'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["study"]
    assert "trial 0, 2 steps: " in done.stderr
    assert set(hosts(tmp_path / "study")) != {""}


# --- SLURM's jobs as processes of this machine, and Dask ------------------------------------------

FEW = SETTINGS.changed(trials=2, rounds=replace(SETTINGS.rounds, orders=1, medium=1.0))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    return found(tmp_path_factory.mktemp("few"), FEW)


@pytest.mark.cluster
def test_jobs_of_submitit(few: list[Outcome], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    executor = SlurmExecutor(tmp_path / "jobs", engine="local")
    assert found(tmp_path / "study", FEW, executor=executor) == few
    executor.shutdown()


@pytest.mark.cluster
def test_dask(few: list[Outcome], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert found(tmp_path, FEW, executor=client.get_executor()) == few
