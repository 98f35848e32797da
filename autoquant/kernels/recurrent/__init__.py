"""Recurrent layers over time: the reference loop and the engines that compute it faster.

Every module of this folder is imported here, which registers its engine.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
