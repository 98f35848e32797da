"""NextCommand: what can be done with a study now, as commands that can be copied."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoquant.figures.study_data import StudyData
from autoquant.report_page.applied_results import AppliedResult
from autoquant.study.folder import Study


@dataclass(frozen=True)
class NextCommand:
    """A command.

    Attributes:
        purpose: what it does, in words.
        text: as it is typed in a shell.
    """

    purpose: str
    text: str


def command(name: str, **arguments: object) -> str:
    """A command of autoquant as it is typed in a shell.

    Args:
        name: of the command.
        **arguments: its settings and their values.

    >>> command("report", study="runs/my study")
    "autoquant report 'study=runs/my study'"
    """
    return shlex.join(["autoquant", name, *(f"{key}={value}" for key, value in arguments.items())])


def after_search(
    study: Study, data: StudyData, applied: Sequence[AppliedResult]
) -> tuple[NextCommand, ...]:
    """The commands that follow a search.

    Args:
        study: of the search.
        data: of the search.
        applied: plans that were applied.
    """
    path = study.path
    found = [*zip(data.budgets, data.selections, strict=True)]
    commands = []
    for number, (budget, selection) in enumerate(found):
        if selection is None:
            continue
        more = {} if number == 0 and study.plan_file.is_file() else {"budget": budget.text}
        purpose = f"train the plan that is chosen within {budget.text} in full, and pack it"
        commands.append(NextCommand(purpose, command("apply", study=path, **more)))
        if selection.smallest is not selection.chosen:
            trial = selection.smallest.trial
            purpose = "the smallest plan that is level with it instead"
            commands.append(NextCommand(purpose, command("apply", study=path, trial=trial)))
    if study.network_file.is_file() and data.budgets:
        text = command("solve", study=path, budget=data.budgets[-1].text)
        commands.append(NextCommand("a plan for any other budget, without training", text))
    return (*commands, *_of_files(_artifacts(study, data, applied)))


def after_sweep(
    study: Study, best: str | None, applied: Sequence[AppliedResult]
) -> tuple[NextCommand, ...]:
    """The commands that follow a sweep.

    Args:
        study: of the sweep.
        best: name of the best run; None where no run has a score.
        applied: plans that were applied.
    """
    commands: list[NextCommand] = []
    files = [str(result.artifact) for result in applied]
    if best is not None:
        text = command("apply", study=study.path, trial=best)
        commands.append(NextCommand("train the best plan of the sweep, and pack it", text))
        files = files or [str(study.applied(f"trial-{best}") / "model.safetensors")]
    return (*commands, *_of_files(files))


def _artifacts(study: Study, data: StudyData, applied: Sequence[AppliedResult]) -> list[str]:
    """The packed files: those that are there, else the one that apply would write.

    Args:
        study: of the search.
        data: of the search.
        applied: plans that were applied.
    """
    files = [str(result.artifact) for result in applied]
    if not files and data.chosen is not None:
        folder = study.applied(f"plan-{data.chosen.plan.digest}")
        files = [str(folder / "model.safetensors")]
    return files


def _of_files(files: Iterable[str]) -> list[NextCommand]:
    """What can be done with packed files."""
    commands = []
    for file in files:
        onnx, c = (command("export", artifact=file, format=name) for name in ("onnx", "c"))
        commands += [
            NextCommand("score the packed file", command("evaluate", artifact=file)),
            NextCommand("write it for ONNX Runtime", onnx),
            NextCommand("write it as C", c),
        ]
    return commands
