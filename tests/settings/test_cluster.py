from typing import Any

import pytest

from autoquant.errors import UserError
from autoquant.settings import Cluster, Search


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "flux"}, "cluster.engine must be one of local, ray, slurm, got 'flux'"),
        (
            {"engine": "ray", "time": 5},
            "cluster.time is only for cluster=slurm, got 'ray'",
        ),
        (
            {"engine": "slurm", "address": "head"},
            "cluster.address is only for cluster=ray, got 'slurm'",
        ),
        ({"gpus": 1}, "cluster.gpus needs cluster=ray or cluster=slurm, got 'local'"),
        ({"engine": "ray", "cpus": 0}, "cluster.cpus must be above 0, got 0"),
        ({"engine": "ray", "gpus": -1}, "cluster.gpus must not be negative, got -1"),
        ({"engine": "ray", "memory": -1}, "cluster.memory must not be negative, got -1"),
        ({"engine": "slurm", "time": 0}, "cluster.time must be at least 1 minute, got 0"),
        ({"engine": "slurm", "array": 0}, "cluster.array must be at least 1, got 0"),
        (
            {"engine": "slurm", "gpus": 0.5},
            "cluster.gpus must be a whole number for cluster=slurm, got 0.5",
        ),
        ({"engine": "ray", "folder": 3}, "cluster.folder must be a text, got 3"),
        ({"engine": "ray", "cpus": "two"}, "cluster.cpus must be a number, got 'two'"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Cluster(**settings)
    assert str(caught.value) == message


def test_what_is_allowed() -> None:
    assert not Cluster(folder="shared").is_remote
    assert Cluster(engine="ray", gpus=0.5, address="head:6379").is_remote
    assert Cluster(engine="slurm", partition="short", time=5, array=7).is_remote


def test_workers_are_those_of_the_cluster() -> None:
    with pytest.raises(UserError, match="workers must be left out with cluster=ray"):
        Search(workers=2, cluster=Cluster(engine="ray"))
    with pytest.raises(UserError, match=r"cluster must be an autoquant\.Cluster"):
        Search(cluster="ray")  # type: ignore[arg-type]
