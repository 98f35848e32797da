"""A process in which only torch, numpy, safetensors and what these need can be imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import Any

ALLOWED = {*sys.stdlib_module_names, "autoquant", "tests", "torch", "numpy", "safetensors"}
ALLOWED |= {"torchgen", "functorch", "triton", "nvidia", "typing_extensions", "sympy", "mpmath"}
ALLOWED |= {"networkx", "jinja2", "markupsafe", "fsspec", "filelock", "setuptools"}
ALLOWED |= {"_distutils_hack", "pkg_resources"}  # of setuptools


class AllowedFinder(MetaPathFinder):
    """Asks other finders for what is allowed, and finds nothing else.

    Args:
        finders: the other ones.
    """

    def __init__(self, finders: Sequence[Any]) -> None:
        self._finders = tuple(finders)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in ALLOWED and not name.startswith("_sysconfigdata"):
            return None
        specs = (finder.find_spec(name, path, target) for finder in self._finders)
        return next((spec for spec in specs if spec is not None), None)

    def find_distributions(self, context: Any) -> Any:
        return PathFinder.find_distributions(context)


def refuse_others() -> None:
    """Find no other modules from now on; call it before anything else is imported."""
    loaded = {name for name in ("yaml", "optuna", "tqdm", "rich") if name in sys.modules}
    if loaded:
        raise RuntimeError(f"imported before: {loaded}")
    sys.meta_path[:] = [AllowedFinder(sys.meta_path)]
