"""A packed model as a program in plain C."""

from autoquant.exports.c.program import CProgram, LayerMemory
from autoquant.exports.c.writer import write_c

__all__ = ["CProgram", "LayerMemory", "write_c"]
