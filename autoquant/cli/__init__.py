"""The command line: Hydra, help pages, printed results and error messages."""
