"""Docstrings document every argument: of the public API and of extension points whatever they are,
elsewhere of every function with three arguments or more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docstring_parser
import pytest

import autoquant

PACKAGE = Path(autoquant.__file__).parent
FEW = 2  # arguments whose meaning the summary may tell
EXTENSION_POINTS = {
    "LayerKind", "layer_kind", "PropagateUnits", "operation", "CodedFormat", "RoundedFormat",
    "number_format", "StoredScale", "ComputedScale", "scale_rule", "Engine", "engine", "PackedForm",
    "packed_form", "Cost", "cost", "sampler", "Task", "SupportsDistillation", "SupportsAssets",
    "ScoresFiles", "SupportsChecks", "PrefersSettings", "Text", "task",
}  # fmt: skip
UNBOUND = {"self", "cls"}

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Documented:
    """A function or a class, and what its docstring documents.

    Attributes:
        where: its file and qualified name.
        name: its qualified name in the file.
        arguments: the names that must be documented.
        documented: the names that are.
        refers: the qualified name that its docstring sends the reader to.
    """

    where: str
    name: str
    arguments: tuple[str, ...]
    documented: frozenset[str]
    refers: str


def _arguments(function: ast.FunctionDef) -> tuple[str, ...]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    every += [each for each in (given.vararg, given.kwarg) if each is not None]
    names = (each.arg for each in every if each.arg not in UNBOUND)
    return tuple(name for name in names if not name.startswith("_"))


def _fields(definition: ast.ClassDef) -> tuple[str, ...]:
    """The annotated fields of a dataclass, a NamedTuple or a protocol."""
    names = [
        each.target.id
        for each in definition.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]
    plain = any("dataclass" in ast.unparse(each) for each in definition.decorator_list)
    plain |= any(ast.unparse(each) in ("NamedTuple", "Protocol") for each in definition.bases)
    return tuple(name for name in names if not name.startswith("_")) if plain else ()


def _explained_beneath(definition: ast.ClassDef) -> set[str]:
    """Fields with a string right beneath them."""
    pairs = zip(definition.body, definition.body[1:], strict=False)
    return {
        field.target.id
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _parsed(text: str) -> frozenset[str]:
    names: set[str] = set()
    for parameter in docstring_parser.parse(text, docstring_parser.DocstringStyle.GOOGLE).params:
        names |= {part.strip(" *`") for part in parameter.arg_name.split(",")}
    return frozenset(names)


def _definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node, prefix)


def _read(path: Path) -> Iterator[Documented]:
    for name, node in _definitions(ast.parse(path.read_text(encoding="utf-8"))):
        text = ast.get_docstring(node) or ""
        documented = set(_parsed(text))
        arguments = _fields(node) if isinstance(node, ast.ClassDef) else _arguments(node)
        if isinstance(node, ast.ClassDef):
            documented |= _explained_beneath(node)
        elif node.name == "__init__":  # the class documents what it is made of
            owner = name.rpartition(".")[0]
            documented |= _parsed(_class_text(path, owner))
        refers = re.search(r"\b(?:See|As) ``([\w.]+)``", text)
        where = f"{path.relative_to(PACKAGE)}: {name}"
        found = refers[1] if refers else ""
        yield Documented(where, name, arguments, frozenset(documented), found)


def _class_text(path: Path, owner: str) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next((ast.get_docstring(n) or "" for name, n in _definitions(tree) if name == owner), "")


EVERY = [each for path in sorted(PACKAGE.rglob("*.py")) for each in _read(path)]
BY_NAME = {each.name: each for each in EVERY}


def _known(each: Documented) -> frozenset[str]:
    """What a docstring documents, itself or by sending the reader to another one."""
    other = BY_NAME.get(each.refers)
    return each.documented | (other.documented if other else frozenset())


def _in_public_api(each: Documented) -> bool:
    first = each.name.split(".")[0]
    public = first in set(autoquant.__all__) | EXTENSION_POINTS
    return public and not any(part.startswith("_") for part in each.name.split("."))


def _missing(each: Documented) -> tuple[str, ...]:
    wanted = each.arguments if _in_public_api(each) or len(each.arguments) > FEW else ()
    return tuple(name for name in wanted if name not in _known(each))


def test_every_argument_is_documented() -> None:
    """Every function with three arguments or more, and all of the public API."""
    missing = {each.where: _missing(each) for each in EVERY if _missing(each)}
    assert not missing, "\n".join(
        f"{where}: {', '.join(names)}" for where, names in missing.items()
    )


def test_the_public_api_is_found() -> None:
    """The test above looks at what users call: it must not pass because nothing was found."""
    found = {each.name for each in EVERY if _in_public_api(each)}
    assert set(autoquant.__all__) | EXTENSION_POINTS <= found
    assert len(EVERY) > 800


TWO_OF_THREE = '''
def f(a, b, c):
    """Do.

    Args:
        a: one.
        c: two.
    """
'''
FIELDS = '''
@dataclass
class D:
    """D."""

    a: int
    b: int
    c: int
    """C."""
'''


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ('def f(a, b, c):\n    """Do."""', ("a", "b", "c")),
        (TWO_OF_THREE, ("b",)),
        ('def f(a, b):\n    """Do."""', ()),
        ('def search(a):\n    """Do."""', ("a",)),
        ('class Plan:\n    def pick(self, a):\n        """Do."""', ("a",)),
        (FIELDS, ("a", "b")),
    ],
    ids=["none", "one left out", "few", "public", "public method", "fields"],
)
def test_what_counts_as_undocumented(tmp_path: Path, monkeypatch, code: str, missing) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "module.py").write_text(code)
    assert [names for each in _read(tmp_path / "module.py") if (names := _missing(each))] == (
        [missing] if missing else []
    )
