"""What a plan costs, one cost a file: bytes of the packed file, activation memory, operations.

Every module of this folder is imported here, so that a cost is known as soon as its file exists.
"""

from importlib import import_module
from pkgutil import iter_modules

from autoquant.costs.cost import COSTS, Cost, cost, cost_named

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = ["COSTS", "Cost", "cost", "cost_named"]
