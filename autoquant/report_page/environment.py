"""Facts: what a study's results were computed with, and how long that took."""

from __future__ import annotations

from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.job_log import recorded_environments

Facts = tuple[tuple[str, str], ...]
"""Names and values, for people."""


def environment_facts(study: Study, baseline: BaselineRecord, seconds: float) -> Facts:
    """What is known of the machine and of the times.

    Args:
        study: of a search or a sweep.
        baseline: the float model.
        seconds: of all trainings of the study, the float model's left out.
    """
    counts = recorded_environments(study.jobs_file)
    facts = [("trainings", f"{count} with {environment}") for environment, count in counts.items()]
    facts.append(("time of the trainings", duration(seconds)))
    trained = f"{baseline.steps:,} steps, {duration(baseline.seconds)}"
    facts.append(("float model", trained if baseline.steps else "its weights were given"))
    facts.append(("parameters of the float model", f"{baseline.parameters:,}"))
    if baseline.digest is not None:
        facts.append(("SHA-256 of its weights", baseline.digest))
    return tuple(facts)


def duration(seconds: float) -> str:
    """A time for people.

    Args:
        seconds: at least 0.

    >>> duration(5.25), duration(75), duration(7320)
    ('5.2 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
