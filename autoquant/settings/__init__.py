"""Settings: what a user may turn, as plain dataclasses, with units and defaults.

The command line builds these from YAML; Python users build them by hand. Nothing here imports
torch, so that ``--help`` answers at once.
"""

from autoquant.settings.base import Settings
from autoquant.settings.checks import constructed, require
from autoquant.settings.cluster import ENGINES, Cluster
from autoquant.settings.codec import from_dict, given_values, plain_value
from autoquant.settings.extension_names import GRIDS, KERNELS, SAMPLERS, SCALES, TARGET_NAMES
from autoquant.settings.limits import Limits
from autoquant.settings.preferred import check_search, combined, default_of, settings_for
from autoquant.settings.rounds_settings import Rounds
from autoquant.settings.scheme import SCHEME_VALUES, Scheme
from autoquant.settings.search_settings import Search
from autoquant.settings.space import GROWTH_METHODS, RULE_FIELDS, Rules, Space, Widening
from autoquant.settings.sweep_settings import INIT_FROM, Sweep
from autoquant.settings.training import AUTO, TRAINING_VALUES, Training

__all__ = [
    "AUTO",
    "ENGINES",
    "GRIDS",
    "GROWTH_METHODS",
    "INIT_FROM",
    "KERNELS",
    "RULE_FIELDS",
    "SAMPLERS",
    "SCALES",
    "SCHEME_VALUES",
    "TARGET_NAMES",
    "TRAINING_VALUES",
    "Cluster",
    "Limits",
    "Rounds",
    "Rules",
    "Scheme",
    "Search",
    "Settings",
    "Space",
    "Sweep",
    "Training",
    "Widening",
    "check_search",
    "combined",
    "constructed",
    "default_of",
    "from_dict",
    "given_values",
    "plain_value",
    "require",
    "settings_for",
]
