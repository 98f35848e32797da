"""Training: the loop, the float baseline, quantization-aware training of a plan."""
