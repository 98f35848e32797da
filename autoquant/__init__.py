"""autoquant: which bits and which width each layer should have, under a size budget.

The names below are imported when they are first used, so that ``import autoquant`` is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from autoquant.distribution import NAME

if TYPE_CHECKING:
    from autoquant.analysis.model_info import profile
    from autoquant.analysis.profile import Profile
    from autoquant.applying.applied import Applied
    from autoquant.artifact.assets import assets
    from autoquant.artifact.dequantized import dequantized
    from autoquant.artifact.packed_file import load
    from autoquant.backend import Compute, computing
    from autoquant.budget import Budget
    from autoquant.commands.apply import apply
    from autoquant.commands.evaluate import evaluate
    from autoquant.commands.export import Exported, export
    from autoquant.commands.report import report
    from autoquant.commands.search import SearchResult, search
    from autoquant.commands.solve import Solution, solve
    from autoquant.commands.sweep import SweepResult, sweep
    from autoquant.commands.transcribe import transcribe
    from autoquant.errors import RunError, UserError
    from autoquant.kernels import cross_entropy
    from autoquant.layers import layer_kind
    from autoquant.plan import LayerChoice, Plan
    from autoquant.settings import (
        Cluster,
        Limits,
        Rounds,
        Scheme,
        Search,
        Space,
        Sweep,
        Training,
        Widening,
    )
    from autoquant.study.folder import Study
    from autoquant.study.outcome import Outcome
    from autoquant.task import Example, Task
    from autoquant.tasks.supervised import SupervisedTask
    from autoquant.tasks.teacher import TeacherTask
    from autoquant.training.callbacks import StepResult

_HOMES = {
    "analysis.model_info": ("profile",),
    "analysis.profile": ("Profile",),
    "artifact.assets": ("assets",),
    "artifact.dequantized": ("dequantized",),
    "artifact.packed_file": ("load",),
    "backend": ("Compute", "computing"),
    "budget": ("Budget",),
    "applying.applied": ("Applied",),
    "commands.apply": ("apply",),
    "commands.evaluate": ("evaluate",),
    "commands.export": ("Exported", "export"),
    "commands.report": ("report",),
    "commands.search": ("SearchResult", "search"),
    "commands.solve": ("Solution", "solve"),
    "commands.sweep": ("SweepResult", "sweep"),
    "commands.transcribe": ("transcribe",),
    "errors": ("RunError", "UserError"),
    "kernels": ("cross_entropy",),
    "layers": ("layer_kind",),
    "plan": ("LayerChoice", "Plan"),
    "settings": (
        *("Cluster", "Limits", "Rounds", "Scheme", "Search", "Space", "Sweep", "Training"),
        "Widening",
    ),
    "study.folder": ("Study",),
    "study.outcome": ("Outcome",),
    "task": ("Example", "Task"),
    "tasks.supervised": ("SupervisedTask",),
    "tasks.teacher": ("TeacherTask",),
    "training.callbacks": ("StepResult",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__version__ = version(NAME)
__all__ = [
    "Applied",
    "Budget",
    "Cluster",
    "Compute",
    "Example",
    "Exported",
    "LayerChoice",
    "Limits",
    "Outcome",
    "Plan",
    "Profile",
    "Rounds",
    "RunError",
    "Scheme",
    "Search",
    "SearchResult",
    "Solution",
    "Space",
    "StepResult",
    "Study",
    "SupervisedTask",
    "Sweep",
    "SweepResult",
    "Task",
    "TeacherTask",
    "Training",
    "UserError",
    "Widening",
    "apply",
    "assets",
    "computing",
    "cross_entropy",
    "dequantized",
    "evaluate",
    "export",
    "layer_kind",
    "load",
    "profile",
    "report",
    "search",
    "solve",
    "sweep",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'autoquant' has no attribute {name!r}")
    return getattr(import_module(f"autoquant.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
