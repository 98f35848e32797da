"""What a plan costs, one cost a file: bytes of the packed file, activation memory, operations.

A new cost is one function under the decorator ``layer_cost`` (of one layer) or ``cost`` (of a whole
plan), in a new file of this folder or in a user's own module. Every module of this folder is
imported here, which registers its cost.
"""

from importlib import import_module
from pkgutil import iter_modules

from autoquant.costs.cost import COSTS, Cost, LayerCost, cost, cost_named, layer_cost

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = ["COSTS", "Cost", "LayerCost", "cost", "cost_named", "layer_cost"]
