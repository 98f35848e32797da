"""Names that settings take and extensions add to."""

from __future__ import annotations

from autoquant.plugins import ExtensionNames

SCALES = ExtensionNames(["fixed", "learned", "mean"])
"""Names of rules for scales; see autoquant.quantization.scale_rules, which adds to them."""
GRIDS = ExtensionNames(["auto", "midrise", "midtread"])
"""Values of ``quantizer.grid``; see autoquant.quantization.formats, which adds names of formats."""
KERNELS = ExtensionNames(["auto", "native", "torch", "reference"])
"""Values of ``kernel``; see autoquant.kernels.recurrent.registry, which adds names of engines."""
TARGET_NAMES = ExtensionNames(["onnxruntime", "c"])
"""Names of targets; see autoquant.costs.target, which adds to them."""
SAMPLERS = ExtensionNames(["program", "tpe", "gp", "nsga2", "random"])
"""Names of samplers; see autoquant.samplers.registry, which adds to them."""
