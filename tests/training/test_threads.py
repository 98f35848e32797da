from pathlib import Path

import pytest
import torch

from autoquant.errors import UserError
from autoquant.settings import Search
from autoquant.study.folder import Study
from autoquant.training.threads import threads_set, with_threads


def made(study: Path, settings: Search) -> Search:
    """Settings of a study, which is made with them or continued.

    Args:
        study: the folder.
        settings: as the user gave them.
    """
    settings = with_threads(settings, Study(study), one_process=settings.workers == 1)
    Study.create(study, {"task": {"name": "toy"}, **settings.to_dict()})
    return settings


@pytest.mark.parametrize(
    ("given", "threads"),
    [({}, 3), ({"workers": 4}, 1), ({"threads": 2}, 2), ({"workers": 4, "threads": 2}, 2)],
    ids=["default", "workers", "threads", "both"],
)
def test_a_study_keeps_its_threads(given: dict[str, int], threads: int, tmp_path: Path) -> None:
    with threads_set(3):
        assert made(tmp_path / "study", Search(**given)).threads == threads
    for workers in (1, 2):
        assert made(tmp_path / "study", Search(workers=workers)).threads == threads
    with pytest.raises(UserError, match=f"was made with threads={threads}, got threads=7"):
        made(tmp_path / "study", Search(threads=7))


def test_a_study_of_an_earlier_version_has_no_number(tmp_path: Path) -> None:
    Study.create(tmp_path / "study", {"task": {"name": "toy"}, "budget": "0.15x"})
    study = Study.open(tmp_path / "study")
    assert with_threads(Search(workers=2), study).threads == 0


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    with threads_set(before + 1):
        assert torch.get_num_threads() == before + 1
        with threads_set(0):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(UserError, match=r"^threads must be at most 1024, got 99999$"):
        Search(threads=99999)


@pytest.mark.parametrize(("setting", "least"), [("workers", 1), ("threads", 0)])
def test_numbers_that_are_refused(setting: str, least: int) -> None:
    with pytest.raises(UserError, match=f"{setting} must"):
        Search(**{setting: least - 1})
