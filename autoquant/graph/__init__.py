"""A model as layers whose widths depend on each other: trace it, check growth, widen it."""
