"""Families of models: which of their layers can be quantized and widened, and at what cost."""
