"""Floats, integer codes and dense bytes: formats, scales, fake quantization, C kernels."""
