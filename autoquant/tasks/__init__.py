"""Tasks: a model, its data, its loss and its score, one file each; ``ready`` registers its own."""
