"""Threads: how many a study trains with, in every process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autoquant.settings import Search
from autoquant.study.folder import Study


def with_threads(settings: Search, study: Study, *, one_process: bool = True) -> Search:
    """Settings with the number of threads that the study has, or is made with.

    It is decided once, when the study is made: with several workers one thread each, since two
    processes of one thread do more than one of two; else as many as torch has. So it does not
    change with the workers when the study is continued.

    Args:
        settings: of the search; a number above 0 stays.
        study: the folder, new or not.
        one_process: whether all trainings run in this process.

    Returns:
        the settings; with 0 threads in a study of an earlier version, which has no number.
    """
    if settings.threads:
        return settings
    if study.config_file.is_file():
        return settings.changed(threads=study.config().get("threads", 0))
    return settings.changed(threads=torch.get_num_threads() if one_process else 1)


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """Let torch use a number of threads in this process, and then as many as before.

    Args:
        threads: their number; 0: as many as it has.
    """
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
