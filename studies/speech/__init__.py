"""The paper's speech recogniser, Deep Speech: its sizes, and what quantization costs it."""
