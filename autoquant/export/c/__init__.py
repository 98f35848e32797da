"""A packed model as a program in plain C."""

from autoquant.export.c.program import CProgram, LayerMemory
from autoquant.export.c.writer import write_c

__all__ = ["CProgram", "LayerMemory", "write_c"]
