import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from autoquant.errors import UserError
from autoquant.executors.local import LocalExecutor
from autoquant.executors.serial import SerialExecutor
from autoquant.rounds.place import Place
from autoquant.settings import Cluster, Search
from autoquant.study.folder import Study


def test_where_jobs_run(tmp_path: Path) -> None:
    study = Study(tmp_path)
    here, two = Place(study, Search()), Place(study, Search(workers=2))
    ray = Place(study, Search(cluster=Cluster(engine="ray")))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        users = Place(study, Search(), pool)
        places = (here, two, ray, users)
        assert [place.is_here for place in places] == [True, False, False, False]
        assert [place.may_be_far for place in places] == [False, False, True, True]
        assert [place.known_workers for place in places] == [1, 2, 0, 0]
        users.check()
        users.new_executor().shutdown()
        assert not pool._shutdown_thread
    assert isinstance(here.new_executor(), SerialExecutor)
    executor = two.new_executor()
    assert isinstance(executor, LocalExecutor)
    executor.shutdown()


def test_checkpoints_of_two_studies_are_apart_in_a_shared_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    settings = Search(cluster=Cluster(folder=str(shared)))
    places = [Place(Study(tmp_path / user / "search"), settings) for user in ("a", "b")]
    with pytest.raises(UserError, match=r"cluster\.folder must be a folder that this machine"):
        places[0].check()
    shared.mkdir()
    folders = {place.working.path for place in places}
    assert len(folders) == 2
    assert {folder.parent for folder in folders} == {shared}
    places[0].prepare()
    assert places[0].working.trunks.is_dir()
    assert Place(Study(tmp_path / "c"), Search()).working == Study(tmp_path / "c")


def test_an_executor_that_is_none_is_refused(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(UserError, match="ThreadPoolExecutor"):
        Place(Study(tmp_path), Search(), threads).check()
    with pytest.raises(UserError, match="executor must be"):
        Place(Study(tmp_path), Search(), "ray").check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        pytest.param(Search(workers=2), "workers=2", id="workers"),
        pytest.param(Search(cluster=Cluster(engine="ray")), "cluster=ray", id="cluster"),
    ],
)
def test_an_executor_beside_other_workers_is_refused(
    settings: Search, got: str, tmp_path: Path
) -> None:
    line = f"^executor must be given without workers and a cluster, got {got} too$"
    with ProcessPoolExecutor(1) as pool, pytest.raises(UserError, match=line):
        Place(Study(tmp_path), settings, pool).check()


def test_a_shared_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = Place(Study(tmp_path), Search(cluster=Cluster(folder=str(tmp_path / "file"))))
    with pytest.raises(UserError, match=r"got '.*file', which is no folder$"):
        place.check()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")
def test_a_device_of_the_workers_need_not_be_here(tmp_path: Path) -> None:
    study, far = Study(tmp_path), Cluster(engine="ray")
    assert Place(study, Search(device="cuda", cluster=far)).device() == torch.device("cpu")
    for settings in (Search(device="cuda"), Search(device="tpu", cluster=far)):
        with pytest.raises(UserError, match="device must be"):
            Place(study, settings).device()
