"""The choices of every layer: search space, choices by layer name, projection onto a limit."""
