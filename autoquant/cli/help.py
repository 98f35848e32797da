"""The help of a command: what it does, its settings with their defaults, what each means.

The texts are those that stand beneath the fields in ``settings.py``.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass

from autoquant.settings import Search, Sweep

WIDTH = 92  # characters of a line

SUMMARIES = {
    "profile": "Print the layers: share, operations, what growing each would cost.",
    "search": "Find the plan with the best score whose packed file fits the budget.",
    "sweep": "Train every plan of a grid in full; write one table and its figures.",
    "report": "Redraw the figures of a study.",
    "apply": "Train a plan in full, from the study's baseline or from scratch, and pack it.",
    "evaluate": "Score a packed file.",
}
MODELS = (
    "Of task=stdlib and task=ptb: lstm (default), gru, bit_rnn_lstm or bit_rnn_gru, which bring "
    "Bit-RNN's training and quantizer."
)
OWN_SETTINGS = {
    "profile": {
        "task": "stdlib, ptb, digits or one of yours (--config-dir FOLDER).",
        "model": MODELS,
    },
    "search": {
        "task": "stdlib, ptb, digits or one of yours (--config-dir FOLDER); its own settings "
        "follow as task.hidden=..., see --cfg job.",
        "model": MODELS,
        "study": "Folder of the search (default runs/TASK-BUDGET, with another model than lstm "
        "runs/TASK-MODEL-BUDGET). An existing one is continued.",
    },
    "sweep": {
        "task": "As for a search.",
        "model": MODELS,
        "study": "Folder of the sweep (default runs/TASK-sweep or runs/TASK-MODEL-sweep). An "
        "existing one is continued, its grid may change. Processes that are started with one "
        "command share the cells.",
    },
    "report": {"study": "Folder of a search or a sweep."},
    "apply": {
        "study": "Folder of a search, or of a sweep.",
        "trial": "A trial of the search instead of its best plan: 17, or w4 for uniform 4 bits. Of "
        "a sweep: the cell, by its name in cells.csv.",
        "plan": "A plan file to apply instead.",
        "start": "baseline: from the study's float model, as its final says; scratch: in low "
        "precision from the first step, as its baseline says. (default: as a sweep's cell was "
        "trained, else baseline)",
        "epochs": "Length of the training, instead of that of final (or baseline).",
        "steps": "The same in batches.",
        "lr": "Learning rate, instead of that of final (or baseline).",
        "device": "Where to train, instead of the study's device.",
    },
    "evaluate": {
        "artifact": "The packed file.",
        "split": "test, valid or probe (default test).",
        "task": "The task that scores it; that of the enclosing study where none is given.",
        "model": "The model of such a task, as for a search.",
        "device": "auto, cpu, cuda, cuda:1, mps (default auto).",
        "kernel": "auto, native, torch or reference (default auto): what computes the layers.",
    },
}
OF_SWEEPS = (
    *("seed", "device", "kernel", "pretrained", "baseline", "final", "quantizer", "widening"),
    *("space", "rules", "sensitivity"),
)
SHARED = {"search": None, "sweep": OF_SWEEPS, "profile": ("widening", "rules")}
"""Commands that take the search's settings: all of them, or some sections."""


def page(command: str) -> str:
    """The help text of a command."""
    lines = [SUMMARIES[command], "", f"Usage: autoquant {command} [setting=value ...]", ""]
    for name, text in OWN_SETTINGS[command].items():
        lines += _entry(name, text)
    if command == "sweep":
        for name, default, text in setting_texts(Sweep, "sweep."):
            lines += _entry(name, f"{text.replace('``', '')} (default {default})")
    if command in SHARED:
        lines += ["", "quantizer=lsq or quantizer=bit_rnn chooses a whole quantizer section.", ""]
        sections = SHARED[command]
        for name, default, text in setting_texts(Search):
            if sections is None or name.split(".")[0] in sections:
                meaning = _once(name, text)
                lines += _entry(name, f"{meaning} (default {default})")
        lines += ["", "A task may set other defaults; '--cfg job' prints what would be used."]
    return "\n".join(lines) + "\n"


def _once(name: str, text: str) -> str:
    """The meaning of a setting; the three trainings have the same fields, told once."""
    section, _, field = name.partition(".")
    return f"As baseline.{field}." if section in ("qat", "final") else text.replace("``", "")


def setting_texts(settings: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and meaning of every setting, nested ones with their section's name."""
    texts = _field_texts(settings)
    for each in fields(settings):
        name = f"{prefix}{each.name}"
        if is_dataclass(each.default):
            for inner, _, text in setting_texts(type(each.default), f"{name}."):
                value = getattr(each.default, inner.removeprefix(f"{name}."))
                yield inner, _shown(value), text
        else:
            default = {} if each.default is MISSING else each.default
            yield name, _shown(default), texts[each.name]


def _field_texts(settings: type) -> dict[str, str]:
    """The string that stands beneath each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(str(each) for each in value) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _entry(name: str, text: str) -> list[str]:
    indent = " " * 28
    wrapped = textwrap.wrap(text, WIDTH - len(indent))
    first = f"  {name:<25} {wrapped[0]}" if len(name) <= 25 else f"  {name}\n{indent}{wrapped[0]}"
    return [first, *(indent + line for line in wrapped[1:])]
