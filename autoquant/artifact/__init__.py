"""The packed file: its tensors, writing, reading, and the model that runs from it."""
