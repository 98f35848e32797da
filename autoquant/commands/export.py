"""Export: a packed file in a format that other runtimes load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoquant.artifact.reading import read
from autoquant.artifact.task_model import float_model_of
from autoquant.distribution import NAME
from autoquant.errors import UserError, first_line, near, shown
from autoquant.exports.comparison import Comparison, compare
from autoquant.exports.source import open_source
from autoquant.exports.stored import Stored
from autoquant.exports.target_model import target_model
from autoquant.exports.timing import PassTime, pass_time
from autoquant.exports.written import FORMAT_NAMES, FORMATS, PREFERENCES, Request, Written
from autoquant.files import make_folder
from autoquant.plain_values import plain_values
from autoquant.plan import LayerChoice
from autoquant.progress import opened
from autoquant.table import Column, Table, Tabular
from autoquant.task import Example, Split, Task, check_order, check_split
from autoquant.training.scoring import score

LABELS = (Column("", "left"), Column("", "left"))
_MODULES = {"onnx": "onnx.files", "qonnx": "onnx.qonnx", "c": "c.files", "torch": "torch_program"}
"""Where the formats are that autoquant has."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of the packed file and of the export.

    Attributes:
        metric: name of the score.
        split: that was scored.
        packed: of the packed file.
        exported: of the export, in its runtime.
    """

    metric: str
    split: str
    packed: float
    exported: float


@dataclass(frozen=True, eq=False)
class Exported(Tabular):
    """An export; prints as a table.

    Attributes:
        format: its name.
        artifact: the packed file.
        files: that were written, the model's main file first.
        packed_bytes: of the packed file.
        bytes: of the exported model.
        times: of a pass on the example and, where the format has one, of a time step; by label.
        difference: of the outputs on the example; None where the export cannot be run here.
        scores: on a split; None where nothing was scored.
        written: what the format told.
    """

    format: str
    artifact: Path
    files: tuple[Path, ...]
    packed_bytes: int
    bytes: int
    times: tuple[tuple[str, PassTime], ...]
    difference: Comparison | None
    scores: Scores | None
    written: Written

    @property
    def tables(self) -> tuple[Table, ...]:
        """Sizes and scores, the weights, and what stayed in float."""
        stored = self.written.stored
        tables = [Table(f"{self.artifact} as {self.format}", LABELS, tuple(self._rows()))]
        if stored:
            tables.append(_weights(stored))
        if self.written.floats:
            heads = Column("in float", "left"), Column("reason", "left")
            tables.append(Table("weights in float", heads, self.written.floats))
        return (*tables, *self.written.tables)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant export --json`` writes them."""
        written = self.written
        values = {
            "format": self.format,
            "artifact": self.artifact,
            "files": [{"path": path, "bytes": path.stat().st_size} for path in self.files],
            "packed_bytes": self.packed_bytes,
            "bytes": self.bytes,
            "times": [
                {"label": label, "exported_seconds": time.exported, "packed_seconds": time.packed}
                for label, time in self.times
            ],
            "difference": self.difference,
            "scores": self.scores,
            "weights": written.stored,
            "floats": [{"name": name, "reason": reason} for name, reason in written.floats],
            "memory": [{"label": label, "value": value} for label, value in written.memory],
            "notes": written.notes,
        }
        return dict(plain_values(values))

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("packed file", _bytes(self.packed_bytes))]
        rows += [(str(path), _bytes(path.stat().st_size)) for path in self.files]
        rows += [*self.written.memory, *((label, str(time)) for label, time in self.times)]
        if self.scores is not None:
            metric, split = self.scores.metric, self.scores.split
            rows.append(
                (f"{metric} of the packed file", f"{self.scores.packed:.6g} ({split} split)")
            )
            rows.append((f"{metric} in the target", f"{self.scores.exported:.6g} ({split} split)"))
        if self.difference is not None:
            rows.append(("difference", str(self.difference)))
        return rows + [("note", note) for note in self.written.notes]


def _bytes(count: int) -> str:
    return f"{count:,} bytes"


def _weights(stored: tuple[Stored, ...]) -> Table:
    """A row for each weight: its bits and what takes them in the export."""
    heads = ("weight", "bits", "stored as", "read by", "codes", "scales", "padding")
    columns = tuple(
        Column(head, "left" if head in ("weight", "stored as", "read by") else "right")
        for head in heads
    )
    rows = tuple(
        (
            each.name,
            f"{each.bits:g}",
            each.kind,
            each.operator,
            f"{each.code_bytes:,}",
            f"{each.scale_bytes:,}",
            f"{each.padding:,}",
        )
        for each in stored
    )
    return Table("weights, in bytes", columns, rows)


def export(
    artifact: str | Path,
    task: Task | nn.Module,
    *,
    format: str = "onnx",
    output: str | Path | None = None,
    example: Any = None,
    split: Split | None = "test",
    prefer: str = "speed",
    progress: bool = True,
) -> Exported:
    """Write a packed file in a format that another runtime loads, and compare the two.

    Formats: ``onnx`` (NAME.onnx, and NAME.step.onnx of a recurrent model), ``c`` (NAME.c and
    NAME.h, plain C99), ``torch`` (NAME.pt2, a program of torch.export) and ``qonnx``
    (NAME.qonnx.onnx, any number of bits). NAME is that of the packed file.

    Args:
        artifact: path of the packed file.
        task: gives the float model that was packed, an example input and the score; or a fresh
            float instance of the model, where nothing is to be scored.
        format: onnx, c, torch or qonnx, or a name that ``@export_format`` registered.
        output: folder of the files; None for the folder of the packed file.
        example: what a model that is given instead of a task is called with: a tensor, a tuple of
            positional arguments, or an ``Example``.
        split: "test", "valid" or "probe": which split is scored in the target and from the packed
            file; None for no scores.
        prefer: "speed", or "size": a smaller file that may run slower.
        progress: whether to show on stderr which step it is, where that takes long.

    Returns:
        the files, sizes, scores and differences; prints as tables.

    Raises:
        UserError: the file is missing or damaged, or of another model; there is no such format;
            the model cannot be exported, with the reason; or a library is missing.
        RunError: the exported model does not run, or a file cannot be written.
    """
    check_order("export", artifact, task)
    _check(artifact, output, format, split, prefer)
    model, example = _model_and_example(artifact, task, example)
    path = Path(artifact)
    folder = path.parent if output is None else Path(output)
    source = open_source(path, model, example)
    make_folder(folder)
    request = Request(source, folder, path.stem, prefer, _metadata(path))
    with opened(progress, f"export {path}") as shown:
        with shown.phase(f"writing {format}"):
            written = _written(format, request)
        with shown.phase("timing the export"):
            times = tuple(_times(written))
        with shown.phase("comparing outputs on the example"):
            same = None if written.runner is None else compare(written.recording, written.runner)
        with shown.phase(f"scoring on the {split} split"):
            scores = _scores(written, task, split)
    sizes = path.stat().st_size, written.bytes
    return Exported(format, path, written.files, *sizes, times, same, scores, written)


def _written(format: str, request: Request) -> Written:
    """Write the files of a format.

    Args:
        format: its name.
        request: what is written, and where.

    Raises:
        UserError: the model cannot be exported.
    """
    try:
        written: Written = _format(format)(request)
    except SyntaxError as error:  # torch.fx writes the names of layers into a program
        requirement = "layers must not have names that are keywords of Python to be exported"
        raise UserError(f"{requirement}, got {first_line(error)}") from error
    return written


def _check(artifact: object, output: object, format: str, split: str | None, prefer: str) -> None:
    """Raise a UserError for settings that are not allowed.

    Args:
        artifact: as in ``export``, like all that follow.
        output: folder of the files, or None.
        format: name of the format.
        split: to be scored, or None.
        prefer: speed or size.
    """
    if not isinstance(artifact, str | Path):
        raise UserError(f"artifact must be the path of a packed file, got {shown(artifact)}")
    if not isinstance(output, str | Path | None):
        raise UserError(f"output must be the path of a folder, got {shown(output)}")
    if output is not None and Path(output).exists() and not Path(output).is_dir():
        raise UserError(f"output must be a folder, got the file '{output}'")
    if not Path(artifact).is_file():
        raise UserError(f"artifact must be an existing packed file, got '{artifact}'")
    names = [*_MODULES, *(name for name in FORMAT_NAMES if name not in _MODULES)]
    if format not in names:
        allowed = ", ".join(names)
        close = near(str(format), names)
        raise UserError(f"format must be one of {allowed}, got {shown(format)} (near: {close})")
    if prefer not in PREFERENCES:
        raise UserError(f"prefer must be speed or size, got {shown(prefer)}")
    if split is not None:
        check_split(split)


def _format(name: str) -> Any:
    """What writes a format.

    Args:
        name: of the format.
    """
    if name in _MODULES:
        import_module(f"autoquant.exports.{_MODULES[name]}")
    return FORMATS[name]


def _model_and_example(
    artifact: str | Path, task: object, example: Any
) -> tuple[nn.Module, Example]:
    """The float model that was packed, and what it is called with.

    Args:
        artifact: the packed file.
        task: as in ``export``.
        example: as there.

    Raises:
        UserError: one is missing.
    """
    if isinstance(task, nn.Module):
        if example is None:
            raise UserError("example must be given with a model, got None")
        if not isinstance(example, Tensor | tuple):
            requirement = "example must be a tensor, a tuple of arguments or an aq.Example"
            raise UserError(f"{requirement}, got {shown(example)}")
        inputs = example if isinstance(example, tuple) else (example,)
        return task, example if isinstance(example, Example) else Example(inputs, 1)
    if not isinstance(task, Task):
        raise UserError(f"task must be an autoquant.Task or a torch module, got {shown(task)}")
    return float_model_of(artifact, task), task.example()


def _times(written: Written) -> Iterator[tuple[str, PassTime]]:
    """Times of an export, by label."""
    if written.runner is not None:
        label = "time of a pass, batch 1, 1 thread"
        yield label, pass_time(written.recording, written.runner)
    if written.step is not None:
        yield "time of a step", pass_time(*written.step)


def _metadata(path: Path) -> dict[str, str]:
    """Texts that describe the model in formats that hold such."""
    header, _ = read(path)
    return {
        "autoquant_version": version(NAME),
        "autoquant_plan": "; ".join(_choice(*each) for each in header.plan.choices.items()),
        "autoquant_artifact": path.name,
    }


def _choice(name: str, choice: LayerChoice) -> str:
    """The choice of a layer in short: ``rnn.l0 w4 r5 a8 h8 x1.5``."""
    bits = {"w": choice.weight_bits, "r": choice.recurrent_bits}
    bits |= {"a": choice.activation_bits, "h": choice.hidden_bits}
    parts = [f"{letter}{count:g}" for letter, count in bits.items() if count is not None]
    return " ".join([name, *parts, f"x{choice.width:g}"])


def _scores(written: Written, task: object, split: Split | None) -> Scores | None:
    """The scores of the packed file and of the export.

    Args:
        written: the export.
        task: as in ``export``.
        split: as there.
    """
    if split is None or written.runner is None or not isinstance(task, Task):
        return None
    packed = score(written.recording.source.model, task, split)
    exported = score(target_model(written.recording, written.runner), task, split)
    return Scores(task.metric, split, packed, exported)
