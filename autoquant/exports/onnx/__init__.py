"""Export to ONNX: weights stay packed in 4 or 8 bits, activations pass through QuantizeLinear."""
