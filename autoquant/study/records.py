"""Records: the values that a study keeps, as rows of a CSV table and as JSON objects.

A record is a dataclass whose fields are numbers, texts, paths, tuples, plans or other records. In a
row every field is the text of one column, and the fields of an inner record are columns of the same
row; None is an empty text, tuples and plans are JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TextIO, TypeVar, Union, get_args, get_origin, get_type_hints

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn

from autoquant.errors import shown
from autoquant.plan import Plan
from autoquant.reading import MAX_JSON_BYTES, read_json

T = TypeVar("T")

RENAMED = {
    "start": "init_from",
    "neuron_share": "paper_size_ratio",
    "paper_share": "paper_size_ratio",
}
"""Columns and keys of earlier versions' files, and the fields that they are read into."""

OPTIONAL = {"optional": True}
"""Metadata of fields that JSON leaves out where they are None, as earlier versions had none."""

_JSON, _ROWS = Converter(), Converter()  # fields <-> JSON values, fields <- texts of columns


def to_json(record: Any) -> dict[str, Any]:
    """A record as an object that ``json.dumps`` takes.

    Args:
        record: an instance of a dataclass.

    Returns:
        its fields by name, in their order; without those that are OPTIONAL and None.
    """
    return {
        field.name: _JSON.unstructure(value)
        for field in fields(type(record))
        if (value := getattr(record, field.name)) is not None or field.metadata != OPTIONAL
    }


def from_json(kind: type[T], content: Any) -> T:
    """The inverse of to_json; keys of earlier versions are read as well.

    Args:
        kind: the record's class.
        content: what ``json.loads`` gave.

    Raises:
        ValueError: the content is not such a record: a key is missing, unknown, or of another type.
    """
    return _structured(_JSON, kind, content)


def to_row(record: Any) -> dict[str, str]:
    """A record as the texts of the columns of a table.

    Args:
        record: an instance of a dataclass.

    Returns:
        the texts by column: the fields' names, those of inner records included.
    """
    row: dict[str, str] = {}
    for field in fields(type(record)):
        value = getattr(record, field.name)
        row |= to_row(value) if _is_record(type(value)) else {field.name: _text(value)}
    return row


def from_row(kind: type[T], row: Mapping[str, str]) -> T:
    """The inverse of to_row; columns of earlier versions are read as well, other ones left out.

    Args:
        kind: the record's class.
        row: the texts by column.

    Raises:
        ValueError: a column is missing, or its text is not a value of the field.
    """
    return _structured(_ROWS, kind, row)


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """The text of a table.

    Args:
        columns: in their order; what a row has beside them is left out.
        rows: the texts by column.
    """
    buffer = io.StringIO()
    write_csv(buffer, columns, rows)
    return buffer.getvalue()


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table.

    Args:
        file: that is written to; it does not change ends of lines.
        columns: see ``to_csv``.
        rows: see ``to_csv``.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in rows)


def from_csv(kind: type[T], text: str) -> list[T]:
    """The records of a table.

    Args:
        kind: the records' class.
        text: of the table, its first line naming the columns.

    Raises:
        ValueError: see ``from_row``.
    """
    before = csv.field_size_limit(MAX_JSON_BYTES)  # the plan of a large model is a long field
    try:
        return [from_row(kind, row) for row in csv.DictReader(io.StringIO(text), restval="")]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    finally:
        csv.field_size_limit(before)


def columns(path: Path, *names: str) -> Iterator[tuple[str, ...]]:
    """The texts of some columns of a table, row by row; the others are not looked at.

    Args:
        path: of the file, which may be missing.
        *names: of the columns.

    Raises:
        ValueError: the file is not a table with these columns.
    """
    if not path.is_file():
        return
    before = csv.field_size_limit(MAX_JSON_BYTES)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield tuple(row[name] for name in names)
    except (csv.Error, KeyError) as error:
        raise ValueError(str(error)) from error
    finally:
        csv.field_size_limit(before)


def _structured(converter: Converter, kind: type[T], content: Any) -> T:
    """A record from its plain values.

    Args:
        converter: of JSON values or of rows.
        kind: the record's class.
        content: the plain values.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"a {kind.__name__} must be a mapping, got {shown(content)}")
    try:
        return converter.structure(content, kind)
    except BaseValidationError as error:
        raise ValueError("; ".join(transform_error(error))) from error


def _text(value: Any) -> str:
    value = _JSON.unstructure(value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict | list | tuple) else str(value)


def _is_record(kind: Any) -> bool:
    return is_dataclass(kind) and kind is not Plan


def _with_new_names(content: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in content.items()}


# --- how values are converted --------------------------------------------------------------------

Hook = Callable[[Any, Any], Any]
"""Reads a value: (plain value, type of the field) -> value of the field."""


def _json_record(kind: type[Any], converter: Converter) -> Hook:
    """Reads a record from a JSON object; unknown keys are refused."""
    read = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
    return lambda content, _: read(_with_new_names(content), kind)


def _row_record(kind: type[Any], converter: Converter) -> Hook:
    """Reads a record from a row; inner records are read from the same row."""
    read = make_dict_structure_fn(kind, converter)
    inner = [name for name, hint in get_type_hints(kind).items() if _is_record(hint)]

    def from_columns(row: Mapping[str, str], _: Any) -> Any:
        row = _with_new_names(row)
        return read({**row, **dict.fromkeys(inner, row)}, kind)

    return from_columns


def _optional(hint: Any, converter: Converter) -> Hook:
    """Reads ``X | None``: None, and of a row an empty text, is None."""
    rest: Any = Union[tuple(kind for kind in get_args(hint) if kind is not NoneType)]  # noqa: UP007
    read, empty = converter.get_structure_hook(rest), ("",) if converter is _ROWS else ()
    return lambda value, _: None if value is None or value in empty else read(value, rest)


def _json_number(value: Any, _: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, got {shown(value)}")
    return value


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _is_optional(hint: Any) -> bool:
    return _is_union(hint) and NoneType in get_args(hint)


def _is_number(hint: Any) -> bool:
    """Whether a type is ``int | float``: bits, of which 1.6 are not a whole number."""
    return _is_union(hint) and set(get_args(hint)) == {int, float}


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple


_JSON.register_unstructure_hook(Plan, Plan.to_dict)
_JSON.register_unstructure_hook(Path, str)
_JSON.register_structure_hook(Plan, lambda value, _: Plan.from_dict(value))
_JSON.register_structure_hook(Path, lambda value, _: Path(value))
_JSON.register_structure_hook_func(_is_number, _json_number)
_JSON.register_structure_hook_factory(_is_optional, _optional)
_JSON.register_structure_hook_factory(_is_record, _json_record)

_ROWS.register_structure_hook(Plan, lambda text, _: Plan.from_dict(read_json(text)))
_ROWS.register_structure_hook_func(
    _is_number, lambda text, _: int(text) if text.isdigit() else float(text)
)
_ROWS.register_structure_hook_func(
    _is_tuple, lambda text, hint: _JSON.structure(read_json(text), hint)
)
_ROWS.register_structure_hook_factory(_is_optional, _optional)
_ROWS.register_structure_hook_factory(_is_record, _row_record)
