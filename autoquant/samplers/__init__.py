"""What is trained next: the proposals of a search (samplers), and the runs of a sweep."""

from autoquant.samplers.registry import Sampler, new_sampler, sampler

__all__ = ["Sampler", "new_sampler", "sampler"]
