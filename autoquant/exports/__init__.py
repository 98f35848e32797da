"""A packed model for other runtimes: ONNX, plain C and torch's own program format."""
